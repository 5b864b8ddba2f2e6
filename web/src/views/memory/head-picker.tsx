/** @file Which block and head is looked at: all of them in a table, each with how long it remembers. */
import type { BlockSummary, HalfLifeRange } from '../../protocol-memory.js';
import { tokens } from '../plots/numbers.js';

/** Counted from 0. */
export interface Place {
  readonly block: number;
  readonly head: number;
}

interface HeadPickerProps {
  readonly blocks: readonly BlockSummary[];
  readonly place: Place;
  readonly onPick: (place: Place) => void;
}

const NAMES: Readonly<Record<string, string>> = { mlstm: 'mLSTM', mlstmLarge: 'mLSTM', slstm: 'sLSTM' };

export function HeadPicker({ blocks, place, onPick }: HeadPickerProps) {
  return (
    <fieldset class="memory-picker">
      <legend>How long each head remembers</legend>
      <p>
        The half-life that its forget gate implies, in the middle of all tokens of the text (and units of an sLSTM head); the
        bar, on a scale of powers of ten, reaches from a tenth of them to nine tenths.
      </p>
      {blocks.map(({ kind, mixer, heads }, block) => (
        <div class="memory-row" key={block}>
          <span class="memory-row-name">
            Block {block + 1} <b>{NAMES[mixer] ?? mixer}</b>
          </span>
          {kind === 'other' && <span>has no gates of this kind</span>}
          <div class="memory-heads">
            {heads.map((range, head) => (
              <label key={head} class="memory-head">
                <input
                  type="radio"
                  name="memory-head"
                  checked={place.block === block && place.head === head}
                  onChange={() => onPick({ block, head })}
                  aria-label={`Block ${block + 1}, ${NAMES[mixer] ?? mixer}, head ${head + 1}: half-life ${tokens(range.median)}`}
                />
                <span aria-hidden="true">Head {head + 1}</span>
                <b aria-hidden="true">{tokens(range.median)}</b>
                <Bar range={range} />
              </label>
            ))}
          </div>
        </div>
      ))}
    </fieldset>
  );
}

/** From a tenth of a token to 10,000. */
const [LEAST, MOST] = [-1, 4];
const share = (value: number): number =>
  Math.max(0, Math.min(100, (100 * (Math.log10(value) - LEAST)) / (MOST - LEAST)));

function Bar({ range: { low, median, high } }: { readonly range: HalfLifeRange }) {
  const [from, to] = [share(low), share(high)];
  return (
    <span class="memory-bar" aria-hidden="true">
      <i style={{ left: `${from}%`, width: `max(3px, ${to - from}%)` }} />
      <u style={{ left: `${share(median)}%` }} />
    </span>
  );
}
