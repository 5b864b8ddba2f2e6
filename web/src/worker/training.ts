/**
 * @file The training of one model on one text: steps with their learning rate, evaluations and samples, until it is done
 * or stopped, on another device after the loss of one. It knows nothing of storage; `train.ts` keeps it.
 */
import {
  createBatches,
  DeviceLostError,
  evaluate,
  evaluationBatches,
  LanguageModel,
  learningRateAt,
  openDevice,
  randomKey,
  SteadyTrainer,
  TrainingLostError,
  type Batches,
  type Device,
  type ModelConfigInput,
  type TrainerOptions,
  type TrainerSnapshot,
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

/** Of the optimizer, and the updates that it has made. */
export interface Moments {
  readonly step: number;
  readonly m: Float32Array;
  readonly v: Float32Array;
}

/** What is trained: a new model, decided by the settings; or one to go on with, as it stood. */
export interface TrainingOptions {
  readonly text: NamedText;
  readonly data: TextData;
  readonly settings: TrainSettings;
  readonly from?: {
    readonly model: LanguageModel;
    readonly moments: Moments;
    /** Steps done. */
    readonly step: number;
    readonly rows: readonly StepRow[];
  };
  /** Opens the device to go on with after a loss. */
  readonly openDevice: () => Promise<Device>;
  /** Told of a loss when training stands where it goes on, with another model. */
  readonly onLost: (error: DeviceLostError) => void;
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
  readonly data: TextData;
  readonly rows: StepRow[];
  /** Where the text is kept; null before it is. */
  textId: string | null = null;
  #settings: TrainSettings;
  readonly #batches: Batches;
  readonly #steady: SteadyTrainer;
  readonly #onLost: (error: DeviceLostError) => void;
  /** How often a device was lost. */
  #losses = 0;

  private constructor({ text, data, settings, from, onLost }: TrainingOptions, steady: SteadyTrainer) {
    const { batchSize: B, contextLength: T, seed } = settings;
    this.text = text;
    this.data = data;
    this.rows = [...(from?.rows ?? [])];
    this.#settings = settings;
    this.#batches = createBatches(data.train, { B, T, seed });
    this.#steady = steady;
    this.#onLost = onLost;
  }

  /** @param device  of the model to go on with, or for the new one */
  static async start(device: Device, options: TrainingOptions): Promise<Training> {
    const { settings, data, from, openDevice } = options;
    const { seed } = settings;
    const model = from?.model ?? LanguageModel.create(modelConfig(settings, data.tokenizer.vocabSize), device, seed);
    const onLost = (error: DeviceLostError): void => training.#goBack(error);
    const steady = await SteadyTrainer.start(
      model,
      { trainer: trainerOptions(seed), openDevice, onLost },
      from === undefined ? null : await snapshotOf(from),
    );
    const training = new Training(options, steady);
    return training;
  }

  /** Another one after the loss of a device. */
  get model(): LanguageModel {
    return this.#steady.model;
  }

  /** Steps done. */
  get step(): number {
    return this.#steady.nextStep;
  }

  get status(): TrainingStatus {
    return { settings: this.#settings, textName: this.text.name, step: this.step };
  }

  /**
   * As they are now, which is also where training would go on after a loss.
   * @throws DeviceLostError
   */
  async moments(): Promise<Moments> {
    const { step, updates, m, v } = await this.#steady.refresh();
    if (step !== this.step) throw new DeviceLostError('The GPU was lost while the optimizer was read.', 'unknown');
    return { step: updates, m: Float32Array.from(m), v: Float32Array.from(v) };
  }

  /**
   * Goes on on a new device, from the last snapshot, after other work ran into the loss of the one before.
   * @throws TrainingLostError when no new one opens; it then stands where the snapshot is
   */
  async goOn(error: DeviceLostError): Promise<void> {
    try {
      await this.#steady.goOn(error);
    } finally {
      this.#dropRows();
    }
  }

  #goBack(error: DeviceLostError): void {
    this.#dropRows();
    this.#losses++;
    this.#onLost(error);
  }

  /** Those of steps that have to be made again. */
  #dropRows(): void {
    while ((this.rows.at(-1)?.step ?? 0) > this.step) this.rows.pop();
  }

  /** Whether the copy in memory is of where training stands. */
  get isAtCopy(): boolean {
    return this.#steady.snapshot.step === this.step;
  }

  /** The model as training would go on with it, in memory, which needs no GPU. */
  async copyOnHost(): Promise<LanguageModel> {
    const device = await openDevice('reference');
    const model = new LanguageModel(this.model.config, device);
    device.write(model.parameters.values, this.#steady.snapshot.values);
    return model;
  }

  /** Frees all but the model. */
  dispose(): void {
    this.#steady.dispose();
  }

  /**
   * Trains until `steps` are done or the signal aborts, which ends it after the step in flight.
   * @throws Error in a sentence when the loss is no longer a number; TrainingLostError when no device opens after a loss,
   *   or a step loses each.
   */
  async run({ steps, signal, turns, emit, onStep }: RunOptions): Promise<void> {
    this.#settings = { ...this.#settings, steps };
    const teller = new Teller(this.#settings, this.step, emit);
    let sampled = performance.now() - SAMPLE_EVERY_MS / 2; // the first one comes early
    // The kernels are compiled on their first use, which takes a while on some GPUs.
    emit({ kind: 'progress', progress: { label: 'Compiling the kernels for this GPU', share: null } });
    while (this.step < steps && !signal.aborted) {
      const losses = this.#losses;
      try {
        const row = await turns.take(() => this.#advance(steps, signal));
        if (this.#losses > losses) teller.goBack(row.step - 1);
        this.rows.push(row);
        teller.add(row);
        if (performance.now() - sampled > SAMPLE_EVERY_MS || this.step === steps) {
          teller.tell();
          await this.#sample(signal, emit);
          sampled = performance.now();
        }
        await onStep();
      } catch (error) {
        if (error instanceof TrainingLostError) this.#dropRows();
        if (!(error instanceof DeviceLostError)) throw error;
        await turns.take(() => this.goOn(error));
        teller.goBack(this.step);
      }
      await giveWay(); // so that Stop is heard
    }
    teller.tell();
  }

  async #advance(steps: number, signal: AbortSignal): Promise<StepRow> {
    const schedule = {
      kind: 'cosine',
      warmupSteps: Math.min(WARMUP_STEPS, Math.ceil(steps / 5)),
      finalRatio: 0.1,
    } as const;
    const {
      step: index,
      loss,
      skipped,
    } = await this.#steady.step({
      batches: (at) => [this.#batches.batchAt(at)],
      learningRate: (at) => learningRateAt(schedule, this.#settings.learningRate, at, steps),
    });
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

function trainerOptions(seed: number): TrainerOptions {
  return {
    optimizer: { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, decay: 'matrices' },
    ...{ gradientClip: 1, checkpointBlocks: false, stateful: false, key: randomKey(seed) },
  };
}

async function snapshotOf({ model, moments, step }: NonNullable<TrainingOptions['from']>): Promise<TrainerSnapshot> {
  const { step: updates, m, v } = moments;
  const values = (await model.device.read(model.parameters.values)) as Float32Array;
  return { step, updates, values, m, v, state: null };
}

/** Tells the page of steps, some at a time, and how fast they come. */
class Teller {
  readonly #settings: TrainSettings;
  readonly #emit: RunOptions['emit'];
  #pace: Pace;
  #untold: StepRow[] = [];
  #step: number;
  #told = -Infinity;
  #isFirst = true;

  constructor(settings: TrainSettings, step: number, emit: RunOptions['emit']) {
    this.#settings = settings;
    this.#emit = emit;
    this.#step = step;
    this.#pace = new Pace(settings, step);
  }

  add(row: StepRow): void {
    if (this.#isFirst) this.#emit({ kind: 'progress', progress: null });
    this.#isFirst = false;
    this.#untold.push(row);
    this.#step = row.step;
    if (performance.now() - this.#told > TELL_EVERY_MS || row.heldOut !== undefined) this.tell();
  }

  tell(): void {
    if (this.#untold.length > 0) this.#emit({ kind: 'steps', rows: this.#untold, ...this.#pace.at(this.#step) });
    this.#untold = [];
    this.#told = performance.now();
  }

  /** Training stands at another step, of which the page was told with all before it. */
  goBack(step: number): void {
    this.#untold = [];
    this.#step = step;
    this.#pace = new Pace(this.#settings, step);
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
