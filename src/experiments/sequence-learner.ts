/**
 * @file A model on one of the synthetic tasks as the learner of a comparison: optimizer steps on batches of examples, and
 * what share of the answers is right on the validation and test sets.
 */
import { batchesOf, trainingBatch, type TaskBatch } from '../data/tasks/batch.js';
import { createTask } from '../data/tasks/registry.js';
import type { ExampleSet, Task } from '../data/tasks/task.js';
import type { Device } from '../device/device.js';
import type { KernelName } from '../device/kernels.js';
import { giveWay } from '../event-loop.js';
import { kernelsCalled, withUpdate } from '../model/kernels-of.js';
import { SequenceModel } from '../model/sequence-model.js';
import { fold, randomKey, type RandomKey } from '../tensor/random.js';
import type { Learner } from './learner.js';
import type { RunSpec } from './run-spec.js';
import { SequenceTrainer } from './sequence-trainer.js';
import { taskTally } from './task-loss.js';

/** Key of a task's examples: the same for every model and seed, so that all see the same samples. */
const TASK_KEY: RandomKey = fold(randomKey(0), 'task');

/** Examples of a validation or test set that are measured, at the most. */
const MOST_EXAMPLES = 2048;

/** @throws ConfigError or RangeError when model and task do not fit. */
export function createSequenceLearner(spec: RunSpec, device: Device): Learner {
  const task = createTask(spec.task.name, spec.task.options);
  const { input, output } = task;
  return new SequenceLearner(spec, task, SequenceModel.create(spec.model, { input, output }, device, spec.seed));
}

/** What training on a task calls, for `openDevice`: measuring calls nothing else. @throws Error as `createSequenceLearner`. */
export function kernelsOfSequence(spec: RunSpec): Set<KernelName> {
  const task = createTask(spec.task.name, spec.task.options);
  const { input, output } = task;
  const called = kernelsCalled((device) => {
    new SequenceLearner(spec, task, new SequenceModel(spec.model, { input, output }, device)).accumulate(0);
  });
  return withUpdate(called);
}

class SequenceLearner implements Learner {
  readonly #spec: RunSpec;
  readonly #task: Task;
  readonly #model: SequenceModel;
  readonly #trainer: SequenceTrainer;
  readonly #train: ExampleSet;

  constructor(spec: RunSpec, task: Task, model: SequenceModel) {
    const { beta1, beta2, eps, weightDecay, gradientClip } = spec.training;
    this.#spec = spec;
    this.#task = task;
    this.#model = model;
    this.#train = task.train(fold(TASK_KEY, 'train'));
    const optimizer = { beta1, beta2, eps, weightDecay, decay: 'matrices' } as const;
    const key = fold(randomKey(spec.seed), 'dropout');
    this.#trainer = new SequenceTrainer(model, { optimizer, gradientClip, key });
  }

  get parameters(): number {
    return this.#model.parameterCount;
  }

  get stateFloats(): number {
    return this.#model.backbone.stateSize;
  }

  get flopsPerToken(): number {
    return this.#model.flopsPerToken(this.#task.maxLength);
  }

  async step(index: number, learningRate: number): Promise<{ loss: number; tokens: number }> {
    const batch = this.#batchAt(index);
    const { loss, skipped } = await this.#trainer.step(batch, learningRate, index);
    return { loss: skipped ? NaN : loss, tokens: batch.lengths.reduce((total, length) => total + length, 0) };
  }

  /** Gradients of the mean loss of batch number `index`, without an update. */
  accumulate(index: number): void {
    this.#trainer.accumulate(this.#batchAt(index), index);
  }

  #batchAt(index: number): TaskBatch {
    return trainingBatch(this.#train, fold(TASK_KEY, 'order'), index, this.#spec.training.batchSize);
  }

  validate(signal?: AbortSignal): Promise<Record<string, number>> {
    return this.#measure(this.#task.validation(fold(TASK_KEY, 'validation')), signal);
  }

  async test(signal?: AbortSignal): Promise<Record<string, number>> {
    const found: Record<string, number> = {};
    for (const set of this.#task.tests(fold(TASK_KEY, 'test'))) {
      for (const [measure, value] of Object.entries(await this.#measure(set, signal))) {
        found[`${set.name}/${measure}`] = value;
      }
    }
    return found;
  }

  /** Loss, and accuracy where answers are right or wrong, over the answers of a set. */
  async #measure(set: ExampleSet, signal?: AbortSignal): Promise<Record<string, number>> {
    const all = { loss: 0, right: 0, answers: 0 };
    for (const batch of batchesOf(set, this.#spec.training.batchSize, MOST_EXAMPLES)) {
      signal?.throwIfAborted();
      const { loss, right, answers } = await taskTally(this.#model, batch);
      all.loss += loss;
      all.right += right;
      all.answers += answers;
      await giveWay();
    }
    const { chance } = this.#task;
    const loss = all.loss / all.answers;
    if (chance === null) return { loss, answers: all.answers };
    const accuracy = all.right / all.answers;
    return { loss, accuracy, scaledAccuracy: (accuracy - chance) / (1 - chance), answers: all.answers };
  }

  dispose(): void {
    this.#trainer.dispose();
    this.#model.dispose();
  }
}
