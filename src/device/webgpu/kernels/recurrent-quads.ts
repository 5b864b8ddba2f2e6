/**
 * @file A recurrence over a whole sequence for a GPU in software, by quads as the matrix product of `matmul-quads.ts`: four
 * invocations walk over time with one head of some batch rows, whose state they keep to themselves, and multiply with the
 * recurrent matrix in tiles, so that a load of the matrix serves all those rows.
 *
 * Invocation `lane` has the units 4 q + lane. Unit q of batch row r lies at place r DQ + q, of UNITS places in all.
 */
import { MATH } from '../math.js';
import { lines, program, type Constants, type Program } from '../program.js';
import type { Cell, RecurrentForm } from './recurrent-cell.js';

/** Batch rows of a quad, and columns of a tile in fours, at most. */
const [MOST_ROWS, MOST_COLUMNS] = [4, 8];
/** Places of a quad at most: WGSL allows 8192 bytes of private variables, eight numbers for each place. */
const MOST_PLACES = 256;

const MEMORY = `
const DQ = (DH + 3u) / 4u;
const UNITS = ROWS * DQ;
var<private> pre: array<f32, 4u * UNITS>;
var<private> h_before: array<f32, UNITS>;
var<private> c: array<f32, UNITS>;
var<private> n: array<f32, UNITS>;
var<private> m: array<f32, UNITS>;
`;

const BEGIN = `
  let head = group % p.NH;
  let first_row = (group / p.NH) * ROWS;
  let plane = p.B * p.NH * DH;`;

/** Runs a piece of WGSL for each place j whose batch row b and unit are there. What lies at others stays 0. */
const eachPlace = (body: string): string => `
  for (var j = 0u; j < UNITS; j++) {
    let b = first_row + j / DQ;
    let unit = 4u * (j % DQ) + lane;
    if (b < p.B && unit < DH) { ${body} }
  }`;

/** The sums `sum_r_c` of a product of [ROWS,K] and a matrix [K,DH], one for each row r and column 4 (tile + c) + lane. */
class Tile {
  readonly #rows: number;
  readonly #DH: number;
  /** Columns in fours. */
  readonly columns: number;

  constructor({ ROWS, DH }: Constants) {
    this.#rows = Number(ROWS);
    this.#DH = Number(DH);
    this.columns = Math.min(MOST_COLUMNS, Math.ceil(this.#DH / 4));
  }

  begin(): string {
    return `
      ${lines(this.columns, (c) => `let column${c} = min(4u * (tile + ${c}u) + lane, DH - 1u);`)}
      ${lines(this.#rows, (r) => lines(this.columns, (c) => `var sum${r}_${c} = 0.0;`))}`;
  }

  /** Adds DH steps, four at a time: `factor(place)` times `element(step, column)`. */
  add(factor: (place: string) => string, element: (step: string, column: string) => string): string {
    const present = (s: number, value: string): string =>
      this.#DH % 4 === 0 || s < this.#DH % 4 ? value : `select(0.0, ${value}, 4u * q + ${s}u < DH)`;
    const steps = (of: (s: number) => string): string => `vec4<f32>(${[0, 1, 2, 3].map(of).join(', ')})`;
    const elements = (c: number): string => steps((s) => present(s, element(`(4u * q + ${s}u)`, `column${c}`)));
    return `
      for (var q = 0u; q < DQ; q++) {
        ${lines(this.columns, (c) => `let w${c} = ${elements(c)};`)}
        ${lines(
          this.#rows,
          (r) => `{
          let own = ${factor(`${r}u * DQ + q`)};
          let x = ${steps((s) => `quadBroadcast(own, ${s}u)`)};
          ${lines(this.columns, (c) => `sum${r}_${c} += dot(x, w${c});`)}
        }`,
        )}
      }`;
  }

  /** A statement for each sum that has a place. */
  end(statement: (sum: string, row: number, column: string, place: string) => string): string {
    return lines(
      this.columns,
      (c) => `
      if (tile + ${c}u < DQ) {
        ${lines(this.#rows, (r) => statement(`sum${r}_${c}`, r, `column${c}`, `${r}u * DQ + tile + ${c}u`))}
      }`,
    );
  }
}

const forwardProgram = (cell: Cell): Program =>
  program({
    name: `${cell.name}Forward of quads`,
    writes: 'h stateOut saved',
    reads: 'gates transposed stateIn reset:u8',
    sizes: 'B T NH units',
    threads: 4,
    solo: true,
    code(constants) {
      const tile = new Tile(constants);
      const gateAt = (row: number, column: string): string =>
        `gates_at((((min(first_row + ${row}u, p.B - 1u) * p.T + t) * p.NH + head) * 4u + gate) * DH + ${column})`;
      return `${MATH}${MEMORY}${cell.begin}${cell.forget}${cell.step}${cell.end}
fn kernel(group: u32, lane: u32) {${BEGIN}
  ${eachPlace(`
    let at = (b * p.NH + head) * DH + unit;
    begin(j, at, plane);
    h_before[j] = stateIn_at(${cell.states - 1}u * plane + at);`)}
  for (var t = 0u; t < p.T; t++) {
    if (has_reset) {
      ${eachPlace('if (reset_at(b * p.T + t) != 0u) { forget(j); h_before[j] = 0.0; }')}
    }
    for (var gate = 0u; gate < 4u; gate++) {
      for (var tile = 0u; tile < DQ; tile += ${tile.columns}u) {
        ${tile.begin()}
        ${tile.add(
          (place) => `h_before[${place}]`,
          (step, column) => `transposed_at((head * DH + ${step}) * 4u * DH + gate * DH + ${column})`,
        )}
        ${tile.end((sum, row, column, place) => `pre[gate * UNITS + ${place}] = ${gateAt(row, column)} + ${sum};`)}
      }
    }
    ${eachPlace(`
    let at = ((b * p.T + t) * p.NH + head) * DH + unit;
    let value = step(j, at);
    h_before[j] = value;
    h_set(at, value);`)}
  }
  ${eachPlace(`
    let at = (b * p.NH + head) * DH + unit;
    end(j, at, plane);
    stateOut_set(${cell.states - 1}u * plane + at, h_before[j]);`)}
}`;
    },
  });

const backwardProgram = (cell: Cell): Program =>
  program({
    name: `${cell.name}Backward of quads`,
    writes: 'dgates dstateIn',
    reads: 'dh dstateOut saved recurrent stateIn reset:u8',
    sizes: 'B T NH units',
    threads: 4,
    solo: true,
    // Here c, n, m and h_before hold the gradients of the state that later steps hand back.
    code(constants) {
      const tile = new Tile(constants);
      return `${MATH}${MEMORY}${cell.back}${cell.carry}
fn kernel(group: u32, lane: u32) {${BEGIN}
  ${eachPlace(`
    let at = (b * p.NH + head) * DH + unit;
    begin_back(j, at, plane);
    h_before[j] = dstateOut_at(${cell.states - 1}u * plane + at);`)}
  for (var back_step = 0u; back_step < p.T; back_step++) {
    let t = p.T - 1u - back_step;
    ${eachPlace(`
    let row = (b * p.T + t) * p.NH + head;
    let at = row * DH + unit;
    let isReset = reset_at(b * p.T + t) != 0u;
    back(j, at, t > 0u, (b * p.NH + head) * DH + unit, plane, dh_at(at) + h_before[j], isReset);
    for (var g = 0u; g < 4u; g++) { dgates_set((row * 4u + g) * DH + unit, pre[g * UNITS + j]); }`)}
    for (var tile = 0u; tile < DQ; tile += ${tile.columns}u) {
      ${tile.begin()}
      for (var gate = 0u; gate < 4u; gate++) {
        ${tile.add(
          (place) => `pre[gate * UNITS + ${place}]`,
          (step, column) => `recurrent_at(((head * 4u + gate) * DH + ${step}) * DH + ${column})`,
        )}
      }
      ${tile.end((sum, _row, _column, place) => `h_before[${place}] = ${sum};`)}
    }
    if (has_reset) { ${eachPlace('if (reset_at(b * p.T + t) != 0u) { h_before[j] = 0.0; }')} }
  }
  ${eachPlace(`
    let at = (b * p.NH + head) * DH + unit;
    end_back(j, at, plane);
    dstateIn_add(${cell.states - 1}u * plane + at, h_before[j]);`)}
}`;
    },
  });

/** Null for a head that is too wide. */
export function quadForms(cell: Cell): (B: number, NH: number, DH: number) => RecurrentForm | null {
  const [forward, backward] = [forwardProgram(cell), backwardProgram(cell)];
  return (B, NH, DH) => {
    const ROWS = Math.min(B, MOST_ROWS, Math.floor(MOST_PLACES / Math.ceil(DH / 4)));
    if (ROWS === 0) return null;
    return { forward, backward, groups: Math.ceil(B / ROWS) * NH, constants: { DH, ROWS } };
  };
}
