/**
 * @file One optimizer step after the other of a sequence model on batches of a task: forward, backward, clip, update. What
 * `train/trainer.ts` is to a language model. It draws no examples and has no schedule.
 */
import type { TaskBatch } from '../data/tasks/batch.js';
import type { SequenceModel } from '../model/sequence-model.js';
import { fold, type RandomKey } from '../tensor/random.js';
import { scope } from '../tensor/scope.js';
import { backward } from '../tensor/tape.js';
import type { AdamwOptions } from '../train/adamw.js';
import { Update, type UpdateResult } from '../train/update.js';
import { taskLoss } from './task-loss.js';

export interface SequenceTrainerOptions {
  readonly optimizer: AdamwOptions;
  /** Largest global norm of the gradient; larger ones are scaled down to it. Infinity for none. */
  readonly gradientClip: number;
  /** Key of the dropout masks. */
  readonly key: RandomKey;
}

export class SequenceTrainer {
  readonly model: SequenceModel;
  readonly #update: Update;
  readonly #key: RandomKey;

  constructor(model: SequenceModel, { optimizer, gradientClip, key }: SequenceTrainerOptions) {
    this.model = model;
    this.#update = new Update(model.parameters, optimizer, gradientClip);
    this.#key = key;
  }

  /**
   * One step; the loss is the mean over the answers of the batch before it.
   * @param index  number of the step; decides the dropout masks
   */
  step(batch: TaskBatch, learningRate: number, index: number): Promise<UpdateResult> {
    this.accumulate(batch, index);
    return this.#update.apply(learningRate);
  }

  /** Gradients of the mean loss of the batch, without an update. The loss is left for the update. */
  accumulate(batch: TaskBatch, index: number): void {
    const { device, parameters } = this.model;
    parameters.zeroGradients();
    scope(device, { record: true, collect: true }, () => {
      const loss = taskLoss(this.model, batch, fold(this.#key, index)).retain();
      backward(loss, { release: true });
      device.kernels.copy(this.#update.lossBuffer, loss.buffer, 1);
    });
  }

  /** Frees all but the model. */
  dispose(): void {
    this.#update.dispose();
  }
}
