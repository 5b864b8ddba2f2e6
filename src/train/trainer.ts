/**
 * @file One optimizer step after the other: forward, backward, clip, update. It knows nothing of files, logs or
 * schedules; `run.ts` puts those around it.
 */
import type { Device } from '../device/device.js';
import type { ForwardOptions, LanguageModel } from '../model/language-model.js';
import type { ModelState } from '../model/state.js';
import { fold, type RandomKey } from '../tensor/random.js';
import { scope } from '../tensor/scope.js';
import { backward } from '../tensor/tape.js';
import { Tensor, type FloatDtype } from '../tensor/tensor.js';
import type { Adamw, AdamwOptions } from './adamw.js';
import { RecordedStep, toDevice, type DeviceBatch } from './recorded-step.js';
import { Update, type UpdateResult } from './update.js';

/** A batch on the host: tokens and targets [B,T] (-1: no target), reset [B,T] (1: a new document begins). */
export interface HostBatch {
  readonly B: number;
  readonly T: number;
  readonly tokens: Int32Array;
  readonly targets: Int32Array;
  readonly reset: Uint8Array | null;
}

/** How many tokens of a batch have a target: what a mean loss is divided by. */
export const countTargets = ({ targets }: HostBatch): number =>
  targets.reduce((count, target) => count + (target >= 0 ? 1 : 0), 0);

export interface TrainerOptions {
  readonly optimizer: AdamwOptions;
  /** Largest global norm of the gradient; larger ones are scaled down to it. Infinity for none. */
  readonly gradientClip: number;
  /** Recompute each block in the backward pass instead of keeping its activations. */
  readonly checkpointBlocks: boolean;
  /** How activations are stored; parameters, gradients of parameters and moments are float. Default 'float'. */
  readonly activations?: FloatDtype;
  /** Carry the recurrent state from step to step (truncated back-propagation through time). */
  readonly stateful: boolean;
  /** Key of the dropout masks. */
  readonly key: RandomKey;
}

/** The loss is the mean cross-entropy per target before the update, in nats. */
export interface StepResult extends UpdateResult {
  /** Number of tokens read. */
  readonly tokens: number;
}

export class Trainer {
  readonly model: LanguageModel;
  readonly options: TrainerOptions;
  readonly #device: Device;
  readonly #update: Update;
  /** One over the targets of the step: what its losses are scaled by. */
  readonly #scale: Tensor;
  /** Null where steps cannot be recorded: what they read beside the batch is not the same memory each time. */
  readonly #recorded: RecordedStep | null;
  #state: ModelState | null = null;

  constructor(model: LanguageModel, options: TrainerOptions) {
    this.model = model;
    this.options = options;
    this.#device = model.device;
    if (options.activations === 'bf16') {
      model.backbone.checkBf16(model.device);
      model.parameters.keepBf16();
    }
    this.#update = new Update(model.parameters, options.optimizer, options.gradientClip);
    this.#scale = new Tensor(model.device, [], model.device.alloc('float', 1));
    const { recorder } = model.device;
    const isRecordable =
      recorder !== undefined && recorder.update !== null && !options.stateful && model.config.dropout === 0;
    this.#recorded = isRecordable
      ? new RecordedStep(model.device, recorder, (batches) => this.#enqueue(batches))
      : null;
  }

  get optimizer(): Adamw {
    return this.#update.optimizer;
  }

  /**
   * One optimizer step over the micro-batches, whose gradients are added up (gradient accumulation): the mean over all
   * their targets. With a loss or gradient that is not finite the parameters stay as they are.
   * @param index  number of the step in the run; decides the dropout masks
   * @throws RangeError when no micro-batch has a target.
   */
  async step(batches: readonly HostBatch[], learningRate: number, index: number): Promise<StepResult> {
    const tokens = batches.reduce((total, { B, T }) => total + B * T, 0);
    this.#weigh(batches);
    const run = this.#recorded?.ready(batches) ?? null;
    if (run !== null) return { ...(await this.#update.applyRecorded(learningRate, run)), tokens };
    this.#addUp(batches, index);
    return { ...(await this.#update.apply(learningRate)), tokens };
  }

  /** Gradients of the mean loss of the micro-batches, without an update. The loss is left for the update. */
  accumulate(batches: readonly HostBatch[], index: number): void {
    this.#weigh(batches);
    this.#addUp(batches, index);
  }

  /** @throws RangeError when no micro-batch has a target. */
  #weigh(batches: readonly HostBatch[]): void {
    const targets = batches.reduce((total, batch) => total + countTargets(batch), 0);
    if (targets === 0) throw new RangeError('Trainer.step: no batch has a target');
    this.#device.write(this.#scale.buffer, Float64Array.of(1 / targets));
  }

  #addUp(batches: readonly HostBatch[], index: number): void {
    this.#begin();
    batches.forEach((batch, micro) => {
      const key = fold(fold(this.options.key, index), micro);
      const before = this.options.stateful ? this.#state : null;
      const after = scope(this.#device, { record: true, collect: true }, () => {
        const { loss, state } = this.#loss(toDevice(this.#device, batch), key, before);
        if (this.options.stateful) state.retain();
        this.#backward(loss);
        return this.options.stateful ? state : null;
      });
      if (this.options.stateful) this.state = after;
    });
  }

  /** A whole step, to be recorded. */
  #enqueue(batches: readonly DeviceBatch[]): void {
    this.#begin();
    for (const batch of batches) {
      scope(this.#device, { record: true }, () => this.#backward(this.#loss(batch, null, null).loss));
    }
    this.#update.enqueue();
  }

  #begin(): void {
    this.model.parameters.zeroGradients();
    this.#device.kernels.fill(this.#update.lossBuffer, 0, 1);
  }

  /** Adds the gradients of a micro-batch and its part of the loss. */
  #backward(loss: Tensor): void {
    backward(loss.retain(), { release: true });
    this.#device.kernels.accumulate(this.#update.lossBuffer, loss.buffer, 1, 1);
  }

  /** Losses [B,T] of a batch, in the current scope. */
  forward(
    batch: HostBatch,
    key: RandomKey | null,
    state: ModelState | null,
    checkpointBlocks = this.options.checkpointBlocks,
  ): { losses: Tensor; state: ModelState } {
    const { tokens, targets, reset } = toDevice(this.#device, batch);
    return this.model.losses(tokens, targets, { ...this.#options(reset, key, state), checkpointBlocks });
  }

  /** The part of a micro-batch in the loss of the step, in the current scope. */
  #loss({ tokens, targets, reset }: DeviceBatch, key: RandomKey | null, state: ModelState | null) {
    return this.model.rootLoss(tokens, targets, this.#scale, this.#options(reset, key, state));
  }

  #options(reset: Tensor | null, key: RandomKey | null, state: ModelState | null): ForwardOptions {
    const { stateful, checkpointBlocks, activations = 'float' } = this.options;
    return { state: state?.detach() ?? null, wantState: stateful, reset, key, checkpointBlocks, activations };
  }

  /** The state carried between steps when stateful; the trainer owns it. */
  get state(): ModelState | null {
    return this.#state;
  }

  set state(state: ModelState | null) {
    this.#state?.dispose();
    this.#state = state;
  }

  dispose(): void {
    this.state = null;
    this.#recorded?.dispose();
    this.#scale.dispose();
    this.#update.dispose();
  }
}
