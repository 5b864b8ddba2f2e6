/**
 * @file The view "Search": nearest-neighbour search by an LSTM and an sLSTM, trained side by side in the worker; their losses,
 * and what each says of one sequence. The worker computes; here it is asked and shown.
 */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { DrawnSequence, PerModel, SearchCalls, SearchErrors, SearchEvent, SearchSettings } from '../../protocol-memory.js';
import '../plots/plots.css';
import './search.css';
import { LossCurves } from './loss-curves.js';
import { SearchForm } from './search-form.js';
import { SearchHistory } from './search-history.js';
import { SequencePlayer } from './sequence-player.js';

/** Asks the worker. */
export type SearchCall = <K extends keyof SearchCalls>(
  kind: K,
  fields: SearchCalls[K]['fields'],
) => Promise<SearchCalls[K]['answer']>;

export interface SearchViewProps {
  readonly call: SearchCall;
  /** Tells a listener of the events of the worker, until what it returns is called. */
  readonly listen: (listener: (event: SearchEvent) => void) => () => void;
}

type Phase = 'new' | 'training' | 'stopping' | 'stopped';

export function SearchView({ call, listen }: SearchViewProps) {
  const [phase, setPhase] = useState<Phase>('new');
  const [problem, setProblem] = useState<string | null>(null);
  const [parameters, setParameters] = useState<PerModel<number> | null>(null);
  const history = useRef(new SearchHistory());
  const [speed, setSpeed] = useState(0);
  const [, redraw] = useState(0);
  const [errors, setErrors] = useState<PerModel<SearchErrors> | null>(null);
  const [sequence, setSequence] = useState<DrawnSequence | null>(null);
  const number = useRef(0);

  const draw = async (): Promise<void> => setSequence(await call('drawSequence', { number: number.current }));
  const attempt = async (work: () => Promise<unknown>, otherwise: Phase): Promise<void> => {
    setProblem(null);
    try {
      await work();
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
      setPhase(otherwise);
    }
  };

  useEffect(
    () =>
      listen((event) => {
        if (event.kind === 'searchSteps') {
          history.current.add(event.steps);
          setSpeed(event.sequencesPerSecond);
          redraw(history.current.steps);
        } else if (event.kind === 'searchErrors') {
          history.current.addErrors(event.step, event.errors);
          setErrors(event.errors);
          draw().catch(() => undefined); // between two trainings there is nothing to ask
        } else {
          setPhase('stopped');
          setProblem(event.problem);
        }
      }),
    [],
  );

  const start = (settings: SearchSettings): void => {
    history.current = new SearchHistory();
    [setErrors, setSequence].forEach((reset) => reset(null));
    setPhase('training');
    void attempt(async () => setParameters((await call('startSearch', { settings })).parameters), 'new');
  };
  const resume = (): void => {
    setPhase('training');
    void attempt(() => call('resumeSearch', {}), 'stopped');
  };
  const stop = (): void => {
    setPhase('stopping');
    void attempt(() => call('stopSearch', {}), 'training');
  };
  return (
    <section class="search" aria-labelledby="search-heading">
      <h2 id="search-heading">Nearest-neighbour search</h2>
      <p>
        A sequence begins with a <b>key</b>, a direction. Then vectors come, each with a value, and after each one the model
        says the value of the vector that is nearest to the key so far. When a closer match arrives, what was stored has to
        be replaced. An LSTM and an sLSTM learn it from the same sequences; they differ in their cells alone.
      </p>
      <SearchForm {...{ phase, onStart: start, onStop: stop, onResume: resume }} />
      {problem !== null && <p role="alert">{problem}</p>}
      {parameters !== null && (
        <p class="search-status" role="status">
          {phase === 'training' ? 'Training' : phase === 'stopping' ? 'Stopping' : 'Stopped'}: step{' '}
          {history.current.steps.toLocaleString('en')}, {Math.round(speed).toLocaleString('en')} sequences per second for both.
          The LSTM has {parameters.lstm.toLocaleString('en')} parameters, the sLSTM {parameters.slstm.toLocaleString('en')}.
        </p>
      )}
      {parameters !== null && <LossCurves history={history.current} steps={history.current.steps} errors={errors} />}
      {sequence !== null && (
        <SequencePlayer
          sequence={sequence}
          onNext={() => {
            number.current++;
            void attempt(draw, phase);
          }}
        />
      )}
    </section>
  );
}
