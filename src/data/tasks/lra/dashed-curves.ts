/**
 * @file Images of dashed curves for Pathfinder (Linsley et al. 2018, arXiv 1805.08315; Houtkamp & Roelfsema 2010): two long
 * curves that do not meet, discs at two ends, short curves to distract. Own rules and own drawing code; the images of the
 * Long Range Arena are made by another program and look alike, not the same.
 *
 * Rules. A curve is a chain of dashes of 1.5 pixels with gaps of 1; from dash to dash the direction turns by an angle uniform
 * in +-0.5 rad, and at a dead end the last three dashes are taken back. No dash comes nearer than 2 pixels to the border. The
 * ends and the middle of a dash stay about 2.5 pixels away from those of every other curve, and of its own curve but for the
 * two dashes before. Two long curves come first; of connected images the discs (radius 1.5) are at both ends of one of them,
 * of others at one end of each. Then short curves are attempted. Dashes are 1 pixel wide, light (255) on dark (0), with
 * soft edges.
 */
import type { Draws } from '../draws.js';

export interface CurveOptions {
  /** Pixels of a side. */
  readonly size: number;
  /** Dashes of a long curve. */
  readonly contourLength: number;
  /** Short curves that are attempted, and their dashes. */
  readonly distractors: number;
  readonly distractorLength: number;
}

type Point = readonly [x: number, y: number];

/** A dash from `from` to `to`, its middle, and its direction in radians. */
interface Dash {
  readonly from: Point;
  readonly middle: Point;
  readonly to: Point;
  readonly direction: number;
}

const DASH = 1.5;
const GAP = 1;
const TURN = 0.5;
const BORDER = 2;
const CLEARANCE = 2.5;
const HALF_WIDTH = 0.5;
const DISC_RADIUS = 1.5;
/** Tried before giving up: directions of a dash, dashes of a curve by its length, starts of a curve, images. */
const DIRECTIONS = 8;
const ATTEMPTS = 6;
const STARTS = 6;
const IMAGES = 200;
const STEPS_BACK = 3;

/** [size * size] pixels 0..255, row by row. @throws RangeError when the curves do not fit into the image. */
export function drawCurves(draws: Draws, connected: boolean, options: CurveOptions): Uint8Array {
  const { size, contourLength, distractors, distractorLength } = options;
  for (let n = 0; n < IMAGES; n++) {
    const room = new Room(size);
    const first = drawCurve(draws, contourLength, room);
    const second = first && drawCurve(draws, contourLength, room);
    if (first === null || second === null) continue;
    const short = Array.from({ length: distractors }, () => drawCurve(draws, distractorLength, room) ?? []);
    const other = connected ? first.at(-1)!.to : draws.below(2) === 0 ? second[0]!.from : second.at(-1)!.to;
    return render([...first, ...second, ...short.flat()], [first[0]!.from, other], size);
  }
  throw new RangeError(
    `pathfinder: two curves of ${contourLength} dashes did not fit into ${size} x ${size} pixels in ${IMAGES} attempts; ` +
      'take shorter ones or a larger image',
  );
}

/** A curve in what room is left, or null where none was found; the room is taken. */
function drawCurve(draws: Draws, dashes: number, room: Room): Dash[] | null {
  for (let n = 0; n < STARTS; n++) {
    const curve: Dash[] = [];
    const start = room.place(draws);
    const first = 2 * Math.PI * draws.uniform();
    for (let attempts = 0; attempts < ATTEMPTS * dashes && curve.length < dashes; attempts++) {
      const last = curve.at(-1);
      const from = last === undefined ? start : along(last.to, last.direction, GAP);
      const next = nextDash(draws, from, last?.direction ?? first, room);
      if (next === null) takeBack(curve, Math.min(STEPS_BACK, curve.length), room);
      else {
        curve.push(next);
        // The two dashes before the next one may be near to it; what is further back may not.
        if (curve.length > 2) room.mark(curve.at(-3)!, 1);
      }
    }
    if (curve.length === dashes) {
      for (const dash of curve.slice(-2)) room.mark(dash, 1);
      return curve;
    }
    takeBack(curve, curve.length, room);
  }
  return null;
}

function takeBack(curve: Dash[], count: number, room: Room): void {
  for (let k = 0; k < count; k++) {
    if (curve.length > 2) room.mark(curve.at(-3)!, -1);
    curve.pop();
  }
}

function nextDash(draws: Draws, from: Point, direction: number, room: Room): Dash | null {
  for (let n = 0; n < DIRECTIONS; n++) {
    const turned = direction + TURN * (1 + n / DIRECTIONS) * (2 * draws.uniform() - 1);
    const dash = { from, middle: along(from, turned, DASH / 2), to: along(from, turned, DASH), direction: turned };
    if (room.isFree(dash.from) && room.isFree(dash.middle) && room.isFree(dash.to)) return dash;
  }
  return null;
}

const along = ([x, y]: Point, direction: number, length: number): Point => [
  x + length * Math.cos(direction),
  y + length * Math.sin(direction),
];

const distance = ([ax, ay]: Point, [bx, by]: Point): number => Math.hypot(ax - bx, ay - by);

/** Cells per pixel and direction. */
const CELLS = 2;
/** What is too near to a cell, from there. */
const NEAR: readonly Point[] = Array.from({ length: (2 * CLEARANCE * CELLS + 1) ** 2 }, (_, k): Point => {
  const side = 2 * CLEARANCE * CELLS + 1;
  return [(k % side) - CLEARANCE * CELLS, Math.floor(k / side) - CLEARANCE * CELLS];
}).filter(([x, y]) => Math.hypot(x, y) <= CLEARANCE * CELLS);

/** Where curves can still go: cells, each with the number of dashes that are too near. */
class Room {
  readonly #size: number;
  readonly #side: number;
  readonly #cells: Int16Array;

  constructor(size: number) {
    this.#size = size;
    this.#side = CELLS * size;
    this.#cells = new Int16Array(this.#side ** 2);
  }

  /** A random place inside the border. */
  place(draws: Draws): Point {
    const span = this.#size - 2 * BORDER;
    return [BORDER + span * draws.uniform(), BORDER + span * draws.uniform()];
  }

  isFree([x, y]: Point): boolean {
    if (Math.min(x, y) < BORDER || Math.max(x, y) > this.#size - BORDER) return false;
    return this.#cells[Math.floor(CELLS * y) * this.#side + Math.floor(CELLS * x)] === 0;
  }

  /** Adds `count` to the cells around a dash. */
  mark({ from, middle, to }: Dash, count: 1 | -1): void {
    for (const [px, py] of [from, middle, to]) {
      const [left, top] = [Math.floor(CELLS * px), Math.floor(CELLS * py)];
      for (const [dx, dy] of NEAR) {
        const [x, y] = [left + dx, top + dy];
        if (Math.min(x, y) >= 0 && Math.max(x, y) < this.#side) this.#cells[y * this.#side + x]! += count;
      }
    }
  }
}

/** Brightness falls from 255 to 0 over the pixel at an edge. */
function render(dashes: readonly Dash[], discs: readonly Point[], size: number): Uint8Array {
  const image = new Uint8Array(size * size);
  const spot = (inside: (pixel: Point) => number, [cx, cy]: Point): void => {
    // What is drawn lies within 3 pixels of its centre.
    for (let y = Math.max(0, Math.floor(cy - 3)); y < Math.min(size, cy + 3); y++) {
      for (let x = Math.max(0, Math.floor(cx - 3)); x < Math.min(size, cx + 3); x++) {
        const light = Math.round(255 * Math.max(0, Math.min(1, inside([x + 0.5, y + 0.5]) + 0.5)));
        image[y * size + x] = Math.max(image[y * size + x]!, light);
      }
    }
  };
  for (const dash of dashes) spot((pixel) => HALF_WIDTH - toDash(pixel, dash), dash.middle);
  for (const disc of discs) spot((pixel) => DISC_RADIUS - distance(pixel, disc), disc);
  return image;
}

function toDash([x, y]: Point, { from: [fx, fy], direction }: Dash): number {
  const [dx, dy] = [Math.cos(direction), Math.sin(direction)];
  const near = Math.max(0, Math.min(DASH, (x - fx) * dx + (y - fy) * dy));
  return Math.hypot(x - fx - near * dx, y - fy - near * dy);
}
