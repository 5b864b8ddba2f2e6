/**
 * @file The view "Memory": a text of the user's is read by the model, and one head at a time shows what it did at each token.
 * The worker computes; here it is asked and shown.
 */
import { useEffect, useState } from 'preact/hooks';
import type { MemoryCalls, MlstmSeries, SlstmSeries, TextTrace } from '../../protocol-memory.js';
import '../plots/plots.css';
import './memory.css';
import { HeadPicker, type Place } from './head-picker.js';
import { MlstmPlots } from './mlstm-plots.js';
import { SlstmPlots } from './slstm-plots.js';
import { TokenFacts } from './token-facts.js';
import { TokenText } from './token-text.js';

/** Asks the worker. */
export type MemoryCall = <K extends keyof MemoryCalls>(
  kind: K,
  fields: MemoryCalls[K]['fields'],
) => Promise<MemoryCalls[K]['answer']>;

export interface MemoryViewProps {
  readonly call: MemoryCall;
  /** Whether there is a model to read with. */
  readonly hasModel: boolean;
}

const OFFERED =
  'The state of the Union is strong because our people are strong. And tonight, I want to speak to you about the state of ' +
  'our Union, about the year behind us, and about the year ahead.';

export function MemoryView({ call, hasModel }: MemoryViewProps) {
  const [text, setText] = useState(OFFERED);
  const [trace, setTrace] = useState<TextTrace | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [isReading, setReading] = useState(false);

  const read = async (): Promise<void> => {
    setReading(true);
    setProblem(null);
    try {
      setTrace(await call('readMemory', { text }));
    } catch (error) {
      setProblem(sentence(error));
    } finally {
      setReading(false);
    }
  };
  return (
    <section class="memory" aria-labelledby="memory-heading">
      <h2 id="memory-heading">Watch the memory</h2>
      <p>
        The model reads a text, and each head of it shows what its memory did at every token: what went in, what was
        forgotten, and where it was read again.
      </p>
      <form
        class="memory-form"
        onSubmit={(event) => {
          event.preventDefault();
          void read();
        }}
      >
        <label for="memory-text">Text to read</label>
        <textarea id="memory-text" rows={3} value={text} onInput={(event) => setText(event.currentTarget.value)} />
        <button type="submit" disabled={!hasModel || isReading}>
          {isReading ? 'Reading …' : trace === null ? 'Read' : 'Read again'}
        </button>
        {!hasModel && <p role="status">There is no model yet: train one, or open one.</p>}
        {problem !== null && <p role="alert">{problem}</p>}
      </form>
      {trace !== null && <TraceOfText key={traceKey(trace)} call={call} trace={trace} />}
    </section>
  );
}

export const sentence = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** A new trace begins with its own first head and token. */
const keys = new WeakMap<TextTrace, number>();
let lastKey = 0;
function traceKey(trace: TextTrace): number {
  const key = keys.get(trace) ?? ++lastKey;
  keys.set(trace, key);
  return key;
}

interface TraceProps {
  readonly call: MemoryCall;
  readonly trace: TextTrace;
}

function TraceOfText({ call, trace }: TraceProps) {
  const first = trace.blocks.findIndex(({ heads }) => heads.length > 0);
  const [place, setPlace] = useState<Place>({ block: first, head: 0 });
  const [series, setSeries] = useState<MlstmSeries | SlstmSeries | null>(null);
  const [picked, setPicked] = useState(Math.floor(trace.tokens.length / 2));
  const [pointed, setPointed] = useState<number | null>(null);
  const [problem, setProblem] = useState<string | null>(null);

  useEffect(() => {
    if (first < 0) return undefined;
    let isLatest = true;
    call('memoryHead', place).then(
      (found) => isLatest && setSeries(found),
      (error: unknown) => isLatest && setProblem(sentence(error)),
    );
    return () => {
      isLatest = false;
    };
  }, [place]);

  if (first < 0) return <p>None of this model's mixers has gates that could be shown.</p>;
  const token = pointed ?? picked;
  const shared = { series: series!, tokens: trace.tokens, token, onPoint: setPointed, onPick: setPicked };
  return (
    <>
      {trace.leftOut > 0 && (
        <p role="status">
          The first {trace.tokens.length} tokens were read; {trace.leftOut.toLocaleString('en')} more were left out.
        </p>
      )}
      <HeadPicker blocks={trace.blocks} place={place} onPick={setPlace} />
      {problem !== null && <p role="alert">{problem}</p>}
      {series !== null && (
        <div class="memory-columns">
          <div class="memory-reading">
            <TokenText {...shared} picked={picked} />
            <TokenFacts {...shared} series={series} />
          </div>
          <div class="memory-plots">
            {series.kind === 'mlstm' ? (
              <MlstmPlots {...shared} series={series} call={call} place={place} />
            ) : (
              <SlstmPlots {...shared} series={series} />
            )}
          </div>
        </div>
      )}
    </>
  );
}
