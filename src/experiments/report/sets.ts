/** @file Sets that are measured apart by a number, such as lengths and frequencies, by their names in results.csv. */

export interface NumberedSet {
  readonly set: string;
  /** What the numbers are: "length" also for test sets of lengths, "test 41-64". */
  readonly what: string;
  readonly from: number;
  readonly end: number;
}

/** Sets that are numbered: "length 64", "test 41-64", "frequency 11-100". */
export function parseNumberedSet(set: string): NumberedSet | null {
  const match = /^(\S.*?) (?:(\d+)-)?(\d+)$/.exec(set);
  if (match === null) return null;
  const [, what, from, end] = match;
  return { set, what: what === 'test' ? 'length' : what!, from: Number(from ?? end), end: Number(end) };
}

/** Without those that hold another one, such as all lengths beside parts of them. */
export const innermost = (sets: readonly NumberedSet[]): NumberedSet[] =>
  sets.filter(({ set, from, end }) => !sets.some((o) => o.set !== set && o.from >= from && o.end <= end));
