/**
 * @file An LSTM and an sLSTM that learn nearest-neighbour search side by side (arXiv 2405.04517 figure 2): the same sequences
 * in the same order, the same sizes and initial key, one step of each in turn.
 */
import { DeviceLostError, fold, randomKey, scope, Tensor, type Device } from 'xlstm';
import { batchOf, type TaskBatch } from '../../../src/data/tasks/batch.js';
import { nearestNeighbourTask } from '../../../src/data/tasks/nearest-neighbour.js';
import type { Example, ExampleSet } from '../../../src/data/tasks/task.js';
import { giveWay } from '../../../src/event-loop.js';
import { SequenceTrainer } from '../../../src/experiments/sequence-trainer.js';
import { SequenceModel } from '../../../src/model/sequence-model.js';
import {
  SEARCH_MODELS,
  type DrawnSequence,
  type PerModel,
  type SearchErrors,
  type SearchEvent,
  type SearchModel,
  type SearchSettings,
  type SearchStep,
} from '../protocol-memory.js';

const BATCH = 32;
const WARMUP_STEPS = 50;
const BLOCKS = 2;
/** Sequences on which errors are measured. */
const HELD_OUT = 64;
/** Steps and errors are told at most so often. */
const TELL_STEPS_MS = 100;
const TELL_ERRORS_MS = 1500;
export const MODELS_LOST = 'The GPU was lost, and both models with it: train them again.';

/** Sequences are between half of the longest length and all of it. */
const taskOf = ({ maxLength }: SearchSettings) =>
  nearestNeighbourTask.create(
    nearestNeighbourTask.options.parse({ maxLength, minLength: Math.max(2, Math.ceil(maxLength / 2)) }),
  );

/** One head, so that all units see each other, and no convolution: the models differ in their cells alone. */
function makeTrainer(kind: SearchModel, device: Device, settings: SearchSettings): SequenceTrainer {
  const { dim, seed } = settings;
  const { input, output } = taskOf(settings);
  const cell = { heads: 1, convKernel: 0, recurrentInit: 'standard' } as const;
  const config = { dim, blocks: new Array<string>(BLOCKS).fill(kind), [kind]: cell };
  return new SequenceTrainer(SequenceModel.create(config, { input, output }, device, seed), {
    optimizer: { beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0, decay: 'matrices' },
    ...{ gradientClip: 1, key: randomKey(seed) },
  });
}

/** Work of both is enqueued before either is waited for. */
async function forBoth<Value>(make: (kind: SearchModel) => Promise<Value>): Promise<PerModel<Value>> {
  const [lstm, slstm] = await Promise.all([make('lstm'), make('slstm')]);
  return { lstm, slstm };
}

export class SearchPair {
  readonly device: Device;
  readonly #settings: SearchSettings;
  readonly #trainers: PerModel<SequenceTrainer>;
  /** Sequences to train on, and those that are only looked at. */
  readonly #train: ExampleSet;
  readonly #heldOut: ExampleSet;
  readonly #measured: readonly Example[];
  #step = 0;
  #isStopping = false;
  #run: Promise<void> | null = null;

  /** @throws ConfigError or RangeError when the settings do not fit. */
  constructor(device: Device, settings: SearchSettings) {
    this.device = device;
    this.#settings = settings;
    const key = randomKey(settings.seed);
    this.#train = taskOf(settings).train(fold(key, 'train'));
    this.#heldOut = taskOf(settings).validation(fold(key, 'held out'));
    this.#measured = Array.from({ length: HELD_OUT }, (_, index) => this.#heldOut.example(index));
    this.#trainers = { lstm: makeTrainer('lstm', device, settings), slstm: makeTrainer('slstm', device, settings) };
  }

  get parameters(): PerModel<number> {
    const { lstm, slstm } = this.#trainers;
    return { lstm: lstm.model.parameterCount, slstm: slstm.model.parameterCount };
  }

  /** Trains until it is stopped; does nothing while it does. */
  start(emit: (event: SearchEvent) => void): void {
    if (this.#run !== null) return;
    this.#isStopping = false;
    this.#run = this.#trainAndTell(emit);
  }

  /** Resolves when the step in flight is done. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#run;
  }

  /** What both models say now to a sequence that is not trained on. */
  async draw(number: number): Promise<DrawnSequence> {
    const example = this.#heldOut.example(number);
    const answers = await forBoth(async (kind) => Float32Array.from(await this.#answers(kind, batchOf([example]))));
    const right = example.values!;
    const closer = closerSteps(example);
    return { number, steps: example.T, vectors: example.vectors!, right, closer, answers };
  }

  dispose(): void {
    for (const kind of SEARCH_MODELS) {
      this.#trainers[kind].dispose();
      this.#trainers[kind].model.dispose();
    }
  }

  async #trainAndTell(emit: (event: SearchEvent) => void): Promise<void> {
    let problem: string | null = null;
    try {
      await this.#trainUntilStopped(emit);
    } catch (error) {
      if (error instanceof DeviceLostError) problem = MODELS_LOST;
      else problem = error instanceof Error ? error.message : String(error);
    }
    this.#run = null;
    emit({ kind: 'searchEnded', problem });
  }

  async #trainUntilStopped(emit: (event: SearchEvent) => void): Promise<void> {
    const started = performance.now();
    const first = this.#step;
    let [untold, toldSteps, toldErrors]: [SearchStep[], number, number] = [[], -Infinity, -Infinity];
    const tell = (): void => {
      const seconds = (performance.now() - started) / 1000;
      const sequencesPerSecond = (BATCH * (this.#step - first)) / seconds;
      if (untold.length > 0) emit({ kind: 'searchSteps', steps: untold, sequencesPerSecond });
      [untold, toldSteps] = [[], performance.now()];
    };
    while (!this.#isStopping) {
      untold.push(await this.#advance());
      if (performance.now() - toldSteps > TELL_STEPS_MS) tell();
      if (performance.now() - toldErrors > TELL_ERRORS_MS) {
        emit({ kind: 'searchErrors', step: this.#step, errors: await forBoth((kind) => this.#measure(kind)) });
        toldErrors = performance.now();
      }
      await giveWay();
    }
    tell();
  }

  /** One step of each model on the same batch. @throws Error in a sentence when a loss is no longer a number. */
  async #advance(): Promise<SearchStep> {
    const index = this.#step;
    const batch = batchOf(Array.from({ length: BATCH }, (_, b) => this.#train.example(index * BATCH + b)));
    const rate = this.#settings.learningRate * Math.min(1, (index + 1) / WARMUP_STEPS);
    const losses = await forBoth(async (kind) => {
      const { loss, skipped } = await this.#trainers[kind].step(batch, rate, index);
      if (!skipped) return loss;
      throw new Error(
        'A loss is no longer a finite number, so training stopped. Start again with a smaller learning rate.',
      );
    });
    this.#step = index + 1;
    return { step: this.#step, losses };
  }

  async #measure(kind: SearchModel): Promise<SearchErrors> {
    const answers = await this.#answers(kind, batchOf(this.#measured));
    const width = answers.length / this.#measured.length;
    const [revised, kept] = [new Mean(), new Mean()];
    this.#measured.forEach((example, row) => {
      const closer = closerSteps(example);
      for (let t = 1; t < example.T; t++) {
        const error = (answers[row * width + t]! - example.values![t]!) ** 2;
        // The first value is no revision: there is nothing to put it in the place of.
        (closer[t] && t > 1 ? revised : kept).add(error);
      }
    });
    return { revised: revised.value, kept: kept.value, all: revised.with(kept).value };
  }

  /** The number that a model says at each step [B,T]. */
  async #answers(kind: SearchModel, { B, T, vectors }: TaskBatch): Promise<ArrayLike<number>> {
    const { model } = this.#trainers[kind];
    const said = scope(this.device, {}, () => {
      const x = Tensor.from(this.device, vectors!, [B, T, vectors!.length / (B * T)]);
      return model.output(model.forward(x, { wantState: false }).hidden);
    });
    try {
      return await said.data();
    } finally {
      said.dispose();
    }
  }
}

/** Whether a vector nearer to the key than all before arrives at each step. */
function closerSteps({ T, vectors }: Example): boolean[] {
  let nearest = -Infinity;
  return Array.from({ length: T }, (_, t) => {
    if (t === 0) return false;
    const closeness = vectors![3 * t]! * vectors![0]! + vectors![3 * t + 1]! * vectors![1]!;
    const isCloser = closeness > nearest;
    nearest = Math.max(nearest, closeness);
    return isCloser;
  });
}

class Mean {
  #sum = 0;
  #count = 0;

  add(value: number): void {
    this.#sum += value;
    this.#count++;
  }

  /** Of the values of both. */
  with(other: Mean): Mean {
    const both = new Mean();
    both.#sum = this.#sum + other.#sum;
    both.#count = this.#count + other.#count;
    return both;
  }

  get value(): number {
    return this.#count === 0 ? 0 : this.#sum / this.#count;
  }
}
