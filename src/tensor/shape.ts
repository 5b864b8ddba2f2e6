/** @file Shapes: their size, and checks whose errors name the function, the rule and the values. */

export type Shape = readonly number[];

/** Number of elements of a tensor of this shape; 1 for a scalar. */
export const size = (shape: Shape): number => shape.reduce((a, b) => a * b, 1);

export const formatShape = (shape: Shape): string => `[${shape.join(',')}]`;

/**
 * Checks that `actual` equals `expected`.
 * @param what  function and argument, "layernorm: weight"
 * @param hint  what to do about it, optional
 * @throws RangeError naming both shapes.
 */
export function checkShape(what: string, actual: Shape, expected: Shape, hint?: string): void {
  if (actual.length === expected.length && actual.every((n, axis) => n === expected[axis])) return;
  const next = hint === undefined ? '' : `; ${hint}`;
  throw new RangeError(`${what} must be ${formatShape(expected)}, got ${formatShape(actual)}${next}`);
}

/** Checks that every extent is a whole number that is not negative. @throws RangeError naming the shape. */
export function checkExtents(what: string, shape: Shape): void {
  if (shape.every((n) => Number.isSafeInteger(n) && n >= 0)) return;
  throw new RangeError(`${what}: extents must be whole numbers of at least 0, got ${formatShape(shape)}`);
}
