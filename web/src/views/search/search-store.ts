/** @file What the view "Search" knows: the training of both models in the worker, its course, and the sequence that is shown. */
import type {
  DrawnSequence,
  PerModel,
  SearchCalls,
  SearchErrors,
  SearchEvent,
  SearchSettings,
} from '../../protocol-memory.js';
import { Observable, sentenceOf } from '../parts/observable.js';
import { SearchHistory } from './search-history.js';

/** Asks the worker. */
export type SearchCall = <K extends keyof SearchCalls>(
  kind: K,
  fields: SearchCalls[K]['fields'],
) => Promise<SearchCalls[K]['answer']>;

export type SearchPhase = 'new' | 'training' | 'stopping' | 'stopped';

export interface SearchState {
  readonly phase: SearchPhase;
  readonly settings: SearchSettings;
  /** What went wrong last, in a sentence. */
  readonly problem: string | null;
  /** Parameters of each model; null before the first training. */
  readonly parameters: PerModel<number> | null;
  /** Steps so far, and sequences per second that both learn from. */
  readonly step: number;
  readonly sequencesPerSecond: number;
  /** Measured last. */
  readonly errors: PerModel<SearchErrors> | null;
  readonly sequence: DrawnSequence | null;
}

const SETTINGS: SearchSettings = { maxLength: 8, dim: 16, learningRate: 0.01, seed: 1 };

export class SearchStore extends Observable<SearchState> {
  readonly #call: SearchCall;
  /** Grows in place, with `step`. */
  history = new SearchHistory();
  /** Which of the sequences is shown. */
  #number = 0;

  constructor(call: SearchCall) {
    super({
      ...{ phase: 'new', settings: SETTINGS, problem: null, parameters: null },
      ...{ step: 0, sequencesPerSecond: 0, errors: null, sequence: null },
    });
    this.#call = call;
  }

  setSettings(settings: Partial<SearchSettings>): void {
    this.change({ settings: { ...this.state.settings, ...settings } });
  }

  async start(): Promise<void> {
    const { phase, settings } = this.state;
    this.history = new SearchHistory();
    this.change({ phase: 'training', step: 0, errors: null, sequence: null });
    await this.#attempt(async () => {
      this.change({ parameters: (await this.#call('startSearch', { settings })).parameters });
    }, phase);
  }

  resume(): Promise<void> {
    this.change({ phase: 'training' });
    return this.#attempt(() => this.#call('resumeSearch', {}), 'stopped');
  }

  stop(): Promise<void> {
    this.change({ phase: 'stopping' });
    return this.#attempt(() => this.#call('stopSearch', {}), 'training');
  }

  nextSequence(): Promise<void> {
    this.#number++;
    return this.#attempt(() => this.#draw());
  }

  /** To be told of every event of the search, whether the view is shown or not. */
  onEvent(event: SearchEvent): void {
    if (event.kind === 'searchEnded') {
      this.change({ phase: 'stopped', problem: event.problem });
    } else if (event.kind === 'searchErrors') {
      this.history.addErrors(event.step, event.errors);
      this.change({ errors: event.errors });
      void this.#attempt(() => this.#draw());
    } else {
      this.history.add(event.steps);
      this.change({ step: this.history.steps, sequencesPerSecond: event.sequencesPerSecond });
    }
  }

  async #draw(): Promise<void> {
    this.change({ sequence: await this.#call('drawSequence', { number: this.#number }) });
  }

  /** @param otherwise  the phase after a failure, where it is then another one */
  async #attempt(work: () => Promise<unknown>, otherwise?: SearchPhase): Promise<void> {
    this.change({ problem: null });
    try {
      await work();
    } catch (error) {
      this.change({ problem: sentenceOf(error), ...(otherwise === undefined ? {} : { phase: otherwise }) });
    }
  }
}
