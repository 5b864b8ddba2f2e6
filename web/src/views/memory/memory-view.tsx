/**
 * @file The view "Memory": a text of the user's is read by the model, and one head at a time shows what it did at each token.
 * The worker computes; here it is shown.
 */
import { useEffect } from 'preact/hooks';
import { useObservable } from '../parts/observable.js';
import { InTurn } from '../plots/in-turn.js';
import '../plots/plots.css';
import { HeadPicker } from './head-picker.js';
import './memory.css';
import type { MemoryStore } from './memory-store.js';
import { MlstmPlots } from './mlstm-plots.js';
import { SlstmPlots } from './slstm-plots.js';
import { TokenFacts } from './token-facts.js';
import { TokenText } from './token-text.js';

interface MemoryViewProps {
  readonly store: MemoryStore;
  /** Whether there is a model to read with. */
  readonly hasModel: boolean;
}

export function MemoryView({ store, hasModel }: MemoryViewProps) {
  const { trace, series } = useObservable(store);
  const hasHeads = trace?.blocks.some(({ heads }) => heads.length > 0) === true;
  useEffect(() => {
    if (hasModel && trace === null) void store.read();
  }, [hasModel]);
  if (trace === null || !hasHeads) {
    return (
      <div class="stack">
        <TextForm store={store} hasModel={hasModel} />
        {trace !== null && <p class="hint">None of this model's mixers has gates that could be shown.</p>}
      </div>
    );
  }
  return (
    <div class="memory">
      <div class="memory-left">
        <TextForm store={store} hasModel={hasModel} />
        {series !== null && <Reading store={store} />}
      </div>
      <div class="memory-right">
        <HeadPicker store={store} />
        {series !== null && <Plots store={store} />}
      </div>
    </div>
  );
}

function TextForm({ store, hasModel }: MemoryViewProps) {
  const { text, isReading, problem, trace } = useObservable(store);
  return (
    <form
      class="card memory-form"
      onSubmit={(event) => {
        event.preventDefault();
        void store.read();
      }}
    >
      <div class="field wide">
        <label for="memory-text">Text to read</label>
        <textarea
          id="memory-text"
          rows={4}
          value={text}
          onInput={({ currentTarget }) => store.setText(currentTarget.value)}
        />
      </div>
      <div class="actions row">
        <button class="primary" disabled={!hasModel || isReading}>
          {isReading ? 'Reading…' : trace === null ? 'Read' : 'Read again'}
        </button>
      </div>
      {hasModel ? (
        <p class="hint">The model reads it from the start, as it is now; it may be in training meanwhile.</p>
      ) : (
        <p class="hint">
          There is no model yet: <a href="#train">train one</a> or <a href="#models">open one</a>.
        </p>
      )}
      {problem !== null && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      {trace !== null && trace.leftOut > 0 && (
        <p class="hint" role="status">
          The first {trace.tokens.length} tokens were read; {trace.leftOut.toLocaleString('en')} more were left out.
        </p>
      )}
    </form>
  );
}

/** What the parts have in common, once a head is there. */
function useToken(store: MemoryStore) {
  const { trace, series, token: picked, pointed } = useObservable(store);
  return {
    ...{ series: series!, tokens: trace!.tokens, token: pointed ?? picked, picked },
    onPoint: (token: number | null) => store.point(token),
    onPick: (token: number) => store.pickToken(token),
  };
}

function Reading({ store }: { readonly store: MemoryStore }) {
  const { series, ...shared } = useToken(store);
  return (
    <section class="card memory-reading" aria-label="Tokens">
      <TokenText {...shared} series={series} />
      <InTurn>
        <TokenFacts {...shared} series={series} />
      </InTurn>
    </section>
  );
}

function Plots({ store }: { readonly store: MemoryStore }) {
  const { series, ...shared } = useToken(store);
  return series.kind === 'mlstm' ? (
    <MlstmPlots {...shared} series={series} store={store} />
  ) : (
    <SlstmPlots {...shared} series={series} />
  );
}
