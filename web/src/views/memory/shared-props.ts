/** @file What the parts of the view "Memory" have in common: the token that is looked at, and how another one is. */
import type { MlstmSeries, SlstmSeries } from '../../protocol-memory.js';

export interface TokenProps<Series = MlstmSeries | SlstmSeries> {
  readonly series: Series;
  readonly tokens: readonly string[];
  /** The token that is looked at: pointed at, or else picked. */
  readonly token: number;
  readonly onPoint: (token: number | null) => void;
  readonly onPick: (token: number) => void;
}

/** A token as a word in a list: white space in sight. */
export const visible = (text: string): string =>
  text === '' ? '·' : text.replaceAll('\n', '⏎').replaceAll('\t', '⇥').replaceAll(' ', '␣');
