/**
 * @file Where the names of series are written in a figure, so that none lies on another: beside the ends of lines, and
 * around points. It only finds places, in pixels.
 */

export const LABEL_SIZE = 12;
const LINE_HEIGHT = 15;

export interface Anchor {
  readonly x: number;
  readonly y: number;
  readonly text: string;
}

export interface PlacedLabel extends Anchor {
  /** Where the text stands, by its vertical middle. */
  readonly textX: number;
  readonly textY: number;
  readonly align: 'start' | 'middle' | 'end';
}

/** About as wide as the text is drawn; fonts differ. */
export const textWidth = (text: string): number => 6.9 * text.length;

/** One column of labels at `x`, as near to their anchors as `top` and `bottom` and the height of a line allow. */
export function placeInColumn(anchors: readonly Anchor[], x: number, top: number, bottom: number): PlacedLabel[] {
  const order = anchors.toSorted((a, b) => a.y - b.y || (a.text < b.text ? -1 : 1));
  const height = Math.min(LINE_HEIGHT, (bottom - top) / Math.max(1, order.length));
  // Groups of labels that touch; each stands around the mean of what its members would like.
  let groups = order.map((anchor) => ({ members: [anchor], centre: anchor.y }));
  for (let merged = true; merged;) {
    merged = false;
    const next: typeof groups = [];
    for (const group of groups) {
      const half = (group.members.length * height) / 2;
      const centre = Math.max(top + half, Math.min(bottom - half, group.centre));
      const before = next.at(-1);
      if (before !== undefined && centre - half < before.centre + (before.members.length * height) / 2 - 1e-9) {
        before.members.push(...group.members);
        const wish = before.members.reduce((sum, { y }) => sum + y, 0) / before.members.length;
        const all = (before.members.length * height) / 2;
        before.centre = Math.max(top + all, Math.min(bottom - all, wish));
        merged = true;
      } else next.push({ members: [...group.members], centre });
    }
    groups = next;
  }
  return groups.flatMap(({ members, centre }) =>
    members.map((anchor, k) => ({
      ...anchor,
      textX: x,
      textY: centre + (k - (members.length - 1) / 2) * height,
      align: 'start' as const,
    })),
  );
}

interface Box {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

const overlap = (a: Box, b: Box): number =>
  Math.max(0, Math.min(a.right, b.right) - Math.max(a.left, b.left)) *
  Math.max(0, Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top));

/** Each label on that side of its point, and at that distance, where it covers least. */
export function placeAround(
  anchors: readonly Anchor[],
  points: readonly Omit<Anchor, 'text'>[],
  bounds: Box,
): PlacedLabel[] {
  const taken: Box[] = points.map(({ x, y }) => ({ left: x - 5, right: x + 5, top: y - 5, bottom: y + 5 }));
  return anchors.map((anchor) => {
    const width = textWidth(anchor.text);
    const candidates = [8, 20, 34].flatMap((distance) =>
      DIRECTIONS.map(([dx, dy, align]) => {
        const textX = anchor.x + dx * distance;
        const textY = anchor.y + dy * (distance + 4);
        const left = textX - (align === 'start' ? 0 : align === 'end' ? width : width / 2);
        const box = { left, right: left + width, top: textY - 7, bottom: textY + 7 };
        const inside = overlap(box, bounds) / (width * 14);
        const covered = taken.reduce((sum, other) => sum + overlap(box, other), 0);
        return { textX, textY, align, box, cost: covered + 4000 * (1 - inside) + 0.6 * (distance - 8) };
      }),
    );
    const best = candidates.reduce((a, b) => (b.cost < a.cost ? b : a));
    taken.push(best.box);
    return { ...anchor, textX: best.textX, textY: best.textY, align: best.align };
  });
}

const DIRECTIONS = [
  [1, 0, 'start'],
  [-1, 0, 'end'],
  [0, -1, 'middle'],
  [0, 1, 'middle'],
  [0.8, -0.8, 'start'],
  [0.8, 0.8, 'start'],
  [-0.8, -0.8, 'end'],
  [-0.8, 0.8, 'end'],
] as const;
