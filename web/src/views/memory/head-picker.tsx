/** @file Which block and head is looked at: all of them in a table, each with how long it remembers. */
import type { HalfLifeRange } from '../../protocol-memory.js';
import { useObservable } from '../parts/observable.js';
import { tokens } from '../plots/numbers.js';
import type { MemoryStore } from './memory-store.js';

const NAMES: Readonly<Record<string, string>> = { mlstm: 'mLSTM', mlstmLarge: 'mLSTM', slstm: 'sLSTM' };

export function HeadPicker({ store }: { readonly store: MemoryStore }) {
  const { trace, place } = useObservable(store);
  return (
    <fieldset class="card memory-picker">
      <legend class="unseen">Head that is looked at</legend>
      <div>
        <h2 aria-hidden="true">How long each head remembers</h2>
        <p class="hint">
          The half-life that its forget gate implies: the middle of all tokens of the text, and of all units of an sLSTM
          head. The bar reaches from a tenth of them to nine tenths, between 0.1 and 10,000 tokens.
        </p>
      </div>
      {trace!.blocks.map(({ kind, mixer, heads }, block) => (
        <div class="memory-row" key={block}>
          <span>
            Block {block + 1}
            <b class={`memory-kind ${kind}`}>{NAMES[mixer] ?? mixer}</b>
          </span>
          {kind === 'other' && <span class="hint">has no gates of this kind</span>}
          <div class="memory-heads">
            {heads.map((range, head) => (
              <label key={head} class="memory-head">
                <input
                  type="radio"
                  name="memory-head"
                  checked={place.block === block && place.head === head}
                  onChange={() => void store.pickHead({ block, head })}
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
