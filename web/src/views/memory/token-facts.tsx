/** @file What one token did in one head, in words and numbers: its gates, what it wrote, what it read, who read it. */
import type { MlstmSeries, SlstmSeries } from '../../protocol-memory.js';
import { percent, short, tokens as tokenCount } from '../plots/numbers.js';
import { largestReads, weightsAround, type Read } from './reads.js';
import { visible, type TokenProps } from './shared-props.js';

const LISTED = 6;

export function TokenFacts({ series, tokens, token, onPick }: TokenProps) {
  const around = weightsAround(series, token);
  const lists = { tokens, top: around.top, onPick };
  const own = around.weights[token]!;
  return (
    <div class="memory-facts">
      <h2>
        Token {token + 1}: <q>{visible(tokens[token]!)}</q>
      </h2>
      <dl>
        {series.kind === 'mlstm' ? (
          <MlstmFacts series={series} token={token} />
        ) : (
          <SlstmFacts series={series} token={token} />
        )}
      </dl>
      <div class="memory-lists">
        <ReadList
          title="Its read returned"
          reads={largestReads(around, 0, token, LISTED)}
          {...lists}
          empty="Nothing was written before it."
        />
        <ReadList
          title="Read later, at"
          reads={largestReads(around, token + 1, tokens.length, LISTED)}
          {...lists}
          empty="No later token read it."
        />
      </div>
      <p class="hint">Of itself the read returned {short(own)}.</p>
    </div>
  );
}

interface FactsProps<Series> {
  readonly series: Series;
  readonly token: number;
}

function MlstmFacts({ series, token }: FactsProps<MlstmSeries>) {
  const [forget, life, written, memory] = [series.forget, series.halfLife, series.written, series.memory].map(
    (of) => of[token]!,
  );
  return (
    <>
      <Fact name="Forget gate" value={short(forget!)} says={`is kept: half is left after ${tokenCount(life!)}`} />
      <Fact
        name="Input gate"
        value={`e^${short(series.logInput[token]!)}`}
        says={`${short(series.i[token]!)} on the scale of the memory`}
      />
      <Fact
        name="Wrote"
        value={short(written!)}
        says={`the memory has size ${short(memory!)} with it${share(written!, memory!)}`}
      />
      <Fact name="Read divided by" value={short(series.denominator[token]!)} says="the normaliser" />
    </>
  );
}

/** A write may also cancel what was there, and then be larger than what is left. */
const share = (written: number, memory: number): string =>
  written <= memory ? `: ${percent(written / memory)} of it` : '';

/** Means over the units. */
function SlstmFacts({ series, token }: FactsProps<SlstmSeries>) {
  const { units } = series;
  const row = (values: Float32Array): Float32Array => values.subarray(token * units, (token + 1) * units);
  const mean = (values: Float32Array): number => row(values).reduce((sum, value) => sum + value, 0) / units;
  const middle = row(series.halfLife).toSorted()[Math.floor(units / 2)]!;
  return (
    <>
      <Fact
        name="Forget gate"
        value={short(mean(series.forget))}
        says={`mean of ${units} units; half-life in the middle ${tokenCount(middle)}`}
      />
      <Fact name="Input gate" value={`e^${short(mean(series.logInput))}`} says="mean exponent" />
      <Fact name="Output gate" value={short(mean(series.o))} says="mean" />
      <Fact name="Stabiliser" value={short(mean(series.m))} says="mean" />
    </>
  );
}

const Fact = ({ name, value, says }: { readonly name: string; readonly value: string; readonly says: string }) => (
  <div>
    <dt>{name}</dt>
    <dd>
      <b>{value}</b> <span>{says}</span>
    </dd>
  </div>
);

interface ReadListProps {
  readonly title: string;
  readonly reads: readonly Read[];
  readonly tokens: readonly string[];
  readonly top: number;
  readonly empty: string;
  readonly onPick: (token: number) => void;
}

function ReadList({ title, reads, tokens, top, empty, onPick }: ReadListProps) {
  return (
    <div>
      <h3>{title}</h3>
      {reads.length === 0 && <p class="hint">{empty}</p>}
      <ol>
        {reads.map(({ token, weight }) => (
          <li key={token}>
            <button
              type="button"
              onClick={() => onPick(token)}
              aria-label={`token ${token + 1}, ${tokens[token]!.trim() || 'white space'}, weight ${short(weight)}`}
            >
              <span class="memory-list-text">{visible(tokens[token]!)}</span>
              <small>{token + 1}</small>
              <span class="memory-list-bar">
                <i
                  style={{
                    width: `${(100 * Math.abs(weight)) / (top || 1)}%`,
                    background: `var(--plot-${weight < 0 ? 'negative' : 'positive'})`,
                  }}
                />
              </span>
              <span class="memory-list-weight">{short(weight)}</span>
            </button>
          </li>
        ))}
      </ol>
    </div>
  );
}
