/**
 * @file The view "Search": nearest-neighbour search by an LSTM and an sLSTM, trained side by side in the worker; their losses,
 * and what each says of one sequence. The worker computes; here it is shown.
 */
import { useObservable } from '../parts/observable.js';
import '../plots/plots.css';
import { ErrorTable, MeasuredCurves, TrainingCurves } from './loss-curves.js';
import { SearchForm } from './search-form.js';
import './search.css';
import type { SearchPhase, SearchStore } from './search-store.js';
import { SequencePlayer } from './sequence-player.js';

export function SearchView({ store }: { readonly store: SearchStore }) {
  const { parameters, sequence, errors } = useObservable(store);
  return (
    <div class="columns search">
      <div class="results">
        <SearchForm store={store} />
        {errors !== null && (
          <section class="card" aria-label="Errors">
            <ErrorTable errors={errors} />
          </section>
        )}
      </div>
      <div class="results">
        {parameters === null ? <Explanation /> : <Course store={store} />}
        {sequence !== null && <SequencePlayer sequence={sequence} onNext={() => void store.nextSequence()} />}
      </div>
    </div>
  );
}

const Explanation = () => (
  <section class="card">
    <h2>Can a memory be revised?</h2>
    <p>
      A sequence begins with a <b>key</b>, a direction. Then vectors come, each with a value, and after each of them the
      model says the value of the vector that is nearest to the key so far. When a closer match arrives, what was stored
      has to be replaced. The gates of an LSTM find that hard; the exponential gates of an sLSTM can outweigh all that
      was stored before (figure 2 of the xLSTM paper).
    </p>
    <p class="hint">
      Both models have two blocks of the same width and see the same sequences in the same order; they differ in their
      cells alone.
    </p>
  </section>
);

const PHASES: Readonly<Record<SearchPhase, string>> = {
  new: 'Not started',
  training: 'Training',
  stopping: 'Stopping',
  stopped: 'Stopped',
};

function Course({ store }: { readonly store: SearchStore }) {
  const { phase, step, sequencesPerSecond, parameters } = useObservable(store);
  const { lstm, slstm } = parameters!;
  const speed = phase === 'training' ? ` · ${Math.round(sequencesPerSecond).toLocaleString('en')} sequences/s` : '';
  return (
    <section class="card" aria-label="Course of training">
      <div class="head">
        <h2>
          {PHASES[phase]} · step <span data-testid="search-step">{step.toLocaleString('en')}</span>
        </h2>
        <p class="detail">
          LSTM {lstm.toLocaleString('en')}, sLSTM {slstm.toLocaleString('en')} parameters{speed}
        </p>
      </div>
      <p class="unseen" role="status">
        {PHASES[phase]}
      </p>
      <div class="search-curves">
        <TrainingCurves store={store} />
        <MeasuredCurves store={store} />
      </div>
    </section>
  );
}
