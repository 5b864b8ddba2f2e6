/**
 * @file The form of a published table: numbers of others, with how surely they are known, to be printed beside what was
 * measured here. Nothing is computed from them.
 */

/** How a number is known. */
export const CERTAINTY = {
  P: 'read in the paper',
  V: "read in the authors' code or its output",
  S: 'read in a secondary source',
  M: 'from memory, not checked',
} as const;

export type Certainty = keyof typeof CERTAINTY;

export interface PublishedColumn {
  readonly title: string;
  /**
   * What of results.csv it stands beside: a task by its name, and by its label where one task stands for several columns;
   * a measure on the set of its headline. Without it the column is only shown.
   */
  readonly beside?: { readonly task: string; readonly measure: string; readonly taskLabel?: string };
}

export interface PublishedRow {
  /** As tables of the paper call it. */
  readonly model: string;
  /** In the order of the columns; null where there is none; X: the model did not learn. */
  readonly values: readonly (number | 'X' | null)[];
}

export interface PublishedTable {
  readonly id: string;
  readonly title: string;
  /** Paper and place in it. */
  readonly source: string;
  /** The settings behind the numbers, in a sentence: what to remember when one's own are smaller. */
  readonly settings: string;
  readonly certainty: Certainty;
  readonly better: 'higher' | 'lower';
  readonly columns: readonly PublishedColumn[];
  readonly rows: readonly PublishedRow[];
  /** How many of the rows a comparison must have for the table to stand beside it. Default 2. */
  readonly least?: number;
  /** Cells known in another way than the rest, as "model/column". */
  readonly exceptions?: Readonly<Record<string, Certainty>>;
}

/** Rows from [model, ...values]. */
export const rows = (...list: readonly (readonly [string, ...(number | 'X' | null)[]])[]): PublishedRow[] =>
  list.map(([model, ...values]) => ({ model, values }));

/** How the number in a cell is known. */
export const certaintyOf = (table: PublishedTable, model: string, column: string): Certainty =>
  table.exceptions?.[`${model}/${column}`] ?? table.certainty;
