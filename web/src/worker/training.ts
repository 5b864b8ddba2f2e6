/**
 * @file The training of one model on one text: steps with their learning rate, evaluations and samples, until it is done
 * or stopped. It knows nothing of storage; `train.ts` keeps it.
 */
import {
  createBatches,
  evaluate,
  evaluationBatches,
  LanguageModel,
  learningRateAt,
  randomKey,
  Trainer,
  type Batches,
  type Device,
  type ModelConfigInput,
} from 'xlstm';
import { giveWay } from '../../../src/event-loop.js';
import type { Letter, StepRow, TrainingStatus, TrainSettings, WorkerEvent } from '../protocol.js';
import type { NamedText, TextData } from './data.js';
import { continueText } from './text.js';
import type { Turns } from './turns.js';

const MIXERS = { m: 'mlstm', s: 'slstm', l: 'lstm' } as const satisfies Record<Letter, string>;
/** Evaluations over the course of training, and the least steps between two. */
const EVALUATIONS = 25;
const LEAST_STEPS_BETWEEN = 10;
/** Batches of an evaluation. */
const EVALUATION_BATCHES = 2;
/** Time between two samples, and the most that one may take. */
const SAMPLE_EVERY_MS = 4000;
const SAMPLE_MS = 600;
const SAMPLE_TOKENS = 160;
/** Steps are told at most so often. */
const TELL_EVERY_MS = 80;
const WARMUP_STEPS = 20;
/** Speed is that of so much time. */
const PACE_MS = 8000;

/** The model that the settings ask for. Heads are as wide as the page's widths allow: all are multiples of 16. */
export const modelConfig = ({ blocks, dim }: TrainSettings, vocabSize: number): ModelConfigInput => ({
  vocabSize,
  dim,
  blocks: blocks.map((letter) => MIXERS[letter]),
});

export interface Moments {
  readonly step: number;
  readonly m: Float32Array;
  readonly v: Float32Array;
}

export interface RunOptions {
  /** Steps in all. */
  readonly steps: number;
  readonly signal: AbortSignal;
  readonly turns: Turns;
  readonly emit: (event: WorkerEvent) => void;
  /** Called between two steps. */
  readonly onStep: () => Promise<void>;
}

export class Training {
  readonly text: NamedText;
  readonly model: LanguageModel;
  readonly data: TextData;
  readonly rows: StepRow[];
  /** Where the text is kept; null before it is. */
  textId: string | null = null;
  #settings: TrainSettings;
  readonly #trainer: Trainer;
  readonly #batches: Batches;

  /** @param model  to go on with; default: a new one, decided by the seed */
  constructor(
    device: Device,
    text: NamedText,
    data: TextData,
    settings: TrainSettings,
    rows: readonly StepRow[] = [],
    model?: LanguageModel,
  ) {
    const { batchSize: B, contextLength: T, seed } = settings;
    this.text = text;
    this.data = data;
    this.rows = [...rows];
    this.#settings = settings;
    this.#batches = createBatches(data.train, { B, T, seed });
    this.model = model ?? LanguageModel.create(modelConfig(settings, data.tokenizer.vocabSize), device, seed);
    this.#trainer = new Trainer(this.model, {
      optimizer: { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, decay: 'matrices' },
      ...{ gradientClip: 1, checkpointBlocks: false, stateful: false, key: randomKey(seed) },
    });
  }

  /** Steps done. */
  get step(): number {
    return this.rows.length;
  }

  get status(): TrainingStatus {
    return { settings: this.#settings, textName: this.text.name, step: this.step };
  }

  async moments(): Promise<Moments> {
    const { m, v } = await this.#trainer.optimizer.moments();
    return { step: this.#trainer.optimizer.step, m: Float32Array.from(m), v: Float32Array.from(v) };
  }

  restore({ step, m, v }: Moments): void {
    this.#trainer.optimizer.restore(step, m, v);
  }

  /** Frees all but the model. */
  dispose(): void {
    this.#trainer.dispose();
  }

  /**
   * Trains until `steps` are done or the signal aborts, which ends it after the step in flight.
   * @throws Error in a sentence when the loss is no longer a number.
   */
  async run({ steps, signal, turns, emit, onStep }: RunOptions): Promise<void> {
    this.#settings = { ...this.#settings, steps };
    const pace = new Pace(this.#settings, this.step);
    let sampled = performance.now() - SAMPLE_EVERY_MS / 2; // the first one comes early
    let untold: StepRow[] = [];
    let told = 0;
    const tell = (): void => {
      if (untold.length > 0) emit({ kind: 'steps', rows: untold, ...pace.at(this.step) });
      untold = [];
      told = performance.now();
    };
    // The kernels are compiled on their first use, which takes a while on some GPUs.
    emit({ kind: 'progress', progress: { label: 'Compiling the kernels for this GPU', share: null } });
    while (this.step < steps && !signal.aborted) {
      const row = await turns.take(() => this.#advance(steps, signal));
      if (told === 0) emit({ kind: 'progress', progress: null });
      this.rows.push(row);
      untold.push(row);
      if (performance.now() - told > TELL_EVERY_MS || row.heldOut !== undefined) tell();
      if (performance.now() - sampled > SAMPLE_EVERY_MS || this.step === steps) {
        tell();
        await this.#sample(signal, emit);
        sampled = performance.now();
      }
      await onStep();
      await giveWay(); // so that Stop is heard
    }
    tell();
    emit({ kind: 'progress', progress: null });
  }

  async #advance(steps: number, signal: AbortSignal): Promise<StepRow> {
    const index = this.step;
    const schedule = {
      kind: 'cosine',
      warmupSteps: Math.min(WARMUP_STEPS, Math.ceil(steps / 5)),
      finalRatio: 0.1,
    } as const;
    const rate = learningRateAt(schedule, this.#settings.learningRate, index, steps);
    const { loss, skipped } = await this.#trainer.step([this.#batches.batchAt(index)], rate, index);
    if (skipped) {
      throw new Error(
        `Step ${index + 1}: the loss is no longer a finite number, so training stopped before it. Train again with a smaller learning rate.`,
      );
    }
    const step = index + 1;
    const every = Math.max(LEAST_STEPS_BETWEEN, Math.ceil(steps / EVALUATIONS));
    if (step % every !== 0 && step !== steps) return { step, loss };
    const heldOut = await this.#evaluate(signal);
    return heldOut === null ? { step, loss } : { step, loss, heldOut };
  }

  async #evaluate(signal: AbortSignal): Promise<number | null> {
    const { batchSize: B, contextLength: T } = this.#settings;
    if (this.data.heldOut === null || signal.aborted) return null;
    const batches = evaluationBatches(this.data.heldOut, { B, T, batches: EVALUATION_BATCHES });
    const { loss } = await evaluate(this.model, batches, signal);
    return signal.aborted ? null : loss; // an evaluation that was cut short is of other text
  }

  async #sample(signal: AbortSignal, emit: (event: WorkerEvent) => void): Promise<void> {
    const { step } = this;
    let text = '';
    await continueText(this.model, this.data.tokenizer, {
      ...{ prompt: '', maxTokens: SAMPLE_TOKENS, temperature: 0.8, topP: 0.95, seed: step },
      signal: AbortSignal.any([signal, AbortSignal.timeout(SAMPLE_MS)]),
      onText: (fresh) => {
        text += fresh;
        emit({ kind: 'sample', step, text });
      },
    });
  }
}

/** How fast training goes: over the last seconds of it, evaluations and samples included, pauses not. */
class Pace {
  readonly #tokensPerStep: number;
  readonly #steps: number;
  readonly #seen: { readonly step: number; readonly time: number }[];

  constructor({ batchSize, contextLength, steps }: TrainSettings, first: number) {
    this.#tokensPerStep = batchSize * contextLength;
    this.#steps = steps;
    this.#seen = [{ step: first, time: performance.now() }];
  }

  at(step: number): { tokensPerSecond: number; secondsLeft: number } {
    const time = performance.now();
    this.#seen.push({ step, time });
    while (this.#seen.length > 2 && time - this.#seen[0]!.time > PACE_MS) this.#seen.shift();
    const first = this.#seen[0]!;
    const seconds = (time - first.time) / 1000 / Math.max(1, step - first.step);
    return { tokensPerSecond: this.#tokensPerStep / seconds, secondsLeft: seconds * (this.#steps - step) };
  }
}
