/** @file Numbers as people read them in plots and lists, and the sizes of lists of numbers. */

/** About three significant digits, with powers of ten only where they are needed. */
export function short(value: number): string {
  if (!Number.isFinite(value)) return value > 0 ? '∞' : value < 0 ? '−∞' : 'not a number';
  const size = Math.abs(value);
  return digits(value, size).replace('-', '−');
}

function digits(value: number, size: number): string {
  if (size !== 0 && (size < 0.001 || size >= 1e5)) return value.toExponential(1);
  if (size >= 100) return String(Math.round(value));
  return String(Number(value.toPrecision(3)));
}

/** "14 tokens", "0.4 tokens", "2,300 tokens". */
export function tokens(value: number): string {
  if (!Number.isFinite(value)) return 'for ever';
  const rounded = value >= 10 ? Math.round(value).toLocaleString('en') : String(Number(value.toPrecision(2)));
  return `${rounded} ${rounded === '1' ? 'token' : 'tokens'}`;
}

export const percent = (share: number): string =>
  `${share < 0.0995 ? short(Math.round(share * 1000) / 10) : Math.round(share * 100)} %`;

/** The largest size of a value; 0 of an empty list. */
export function largest(values: ArrayLike<number>): number {
  let most = 0;
  for (let k = 0; k < values.length; k++) most = Math.max(most, Math.abs(values[k]!));
  return most;
}
