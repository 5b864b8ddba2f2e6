/**
 * @file One optimizer step after the other: forward, backward, clip, update. It knows nothing of files, logs or
 * schedules; `run.ts` puts those around it.
 */
import type { Device } from '../device/device.js';
import type { ForwardOptions, LanguageModel } from '../model/language-model.js';
import type { ModelState } from '../model/state.js';
import { mul } from '../ops/elementwise.js';
import { sum } from '../ops/sum.js';
import { fold, type RandomKey } from '../tensor/random.js';
import { scope } from '../tensor/scope.js';
import { Tensor, type FloatDtype } from '../tensor/tensor.js';
import type { Adamw, AdamwOptions } from './adamw.js';
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
    this.accumulate(batches, index);
    const tokens = batches.reduce((total, { B, T }) => total + B * T, 0);
    return { ...(await this.#update.apply(learningRate)), tokens };
  }

  /** Gradients of the mean loss of the micro-batches, without an update. The loss is left for the update. */
  accumulate(batches: readonly HostBatch[], index: number): void {
    const targets = batches.reduce((total, batch) => total + countTargets(batch), 0);
    if (targets === 0) throw new RangeError('Trainer.step: no batch has a target');
    const { kernels } = this.#device;
    this.model.parameters.zeroGradients();
    kernels.fill(this.#update.lossBuffer, 0, 1);
    batches.forEach((batch, micro) => {
      const key = fold(fold(this.options.key, index), micro);
      const before = this.options.stateful ? this.#state : null;
      const after = scope(this.#device, { record: true }, () => {
        const inputs = this.#inputs(batch, key, before, this.options.checkpointBlocks);
        const { hidden, state } = this.model.forward(inputs.tokens, inputs.options);
        if (this.options.stateful) state.retain();
        const scale = Tensor.from(this.#device, Float64Array.of(1 / targets), []);
        const losses = this.model.lossesBackward(hidden, inputs.targets, scale, { release: true });
        const loss = mul(sum(losses), scale);
        kernels.accumulate(this.#update.lossBuffer, loss.buffer, 1, 1);
        return this.options.stateful ? state : null;
      });
      if (this.options.stateful) this.state = after;
    });
  }

  /** Losses [B,T] of a batch without checkpoints of blocks, in the current scope. */
  losses(batch: HostBatch, key: RandomKey | null, state: ModelState | null): Tensor {
    const { tokens, targets, options } = this.#inputs(batch, key, state, false);
    return this.model.losses(tokens, targets, options).losses;
  }

  #inputs({ B, T, ...batch }: HostBatch, key: RandomKey | null, state: ModelState | null, checkpointBlocks: boolean) {
    const options: ForwardOptions = {
      state: state?.detach() ?? null,
      wantState: this.options.stateful,
      reset: batch.reset === null ? null : Tensor.from(this.#device, batch.reset, [B, T]),
      key,
      checkpointBlocks,
      activations: this.options.activations ?? 'float',
    };
    const [tokens, targets] = [batch.tokens, batch.targets].map((ids) => Tensor.from(this.#device, ids, [B, T]));
    return { tokens: tokens!, targets: targets!, options };
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
    this.#update.dispose();
  }
}
