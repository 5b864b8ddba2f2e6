/**
 * @file The xLSTM language model: embedding, residual blocks, final norm, output layer (arXiv 2405.04517 sec. 2.4).
 * It does not train, sample or read files.
 */
import { bytesOf, type Device } from '../device/device.js';
import { WeightFormat } from '../device/kernels.js';
import { applyNorm, normParameters, NORMS } from '../layers/norm.js';
import { countParameters, prefixed, type ParameterTable, type ParameterTensors } from '../layers/parameter.js';
import type { StepOptions } from '../mixers/mixer.js';
import { embedding } from '../ops/embedding.js';
import { linearCrossEntropy, rootCrossEntropy } from '../ops/linear-cross-entropy.js';
import { linear } from '../ops/linear.js';
import { softCap } from '../ops/soft-cap.js';
import { fold, randomKey } from '../tensor/random.js';
import { formatShape } from '../tensor/shape.js';
import type { FloatDtype, Tensor } from '../tensor/tensor.js';
import { Backbone, type ForwardOptions } from './backbone.js';
import type { Block } from './block.js';
import { checkConfig } from './check-config.js';
import { modelConfigSchema, type ModelConfig, type ModelConfigInput } from './config.js';
import { embeddingInit, headInit } from './initial-matrices.js';
import { Parameters, type FrozenParameters } from './parameters.js';
import type { ModelState } from './state.js';

export { type ForwardOptions } from './backbone.js';

function tableOf(config: ModelConfig, backbone: Backbone): ParameterTable {
  const { dim: D, vocabSize: V } = config;
  const table = { shape: [V, D], dense: true };
  return {
    'embedding.weight': { ...table, init: embeddingInit(config), decay: false },
    ...(config.embeddingNorm ? prefixed('embeddingNorm', normParameters(D, NORMS[config.norm])) : {}),
    ...backbone.parameters,
    ...(config.tieWeights ? {} : { 'head.weight': { ...table, init: headInit(config), decay: true } }),
  };
}

/** All parameters that a model of this configuration has, without allocating it. */
export function parameterTable(config: ModelConfigInput): ParameterTable {
  const checked = checkConfig(modelConfigSchema, config, 'model');
  return tableOf(checked, new Backbone(checked));
}

/** Number of values by part of the model: "embedding", "blocks.0", ..., "norm", "head". */
export function countByPart(table: ParameterTable): Record<string, number> {
  const parts: Record<string, number> = {};
  for (const [name, spec] of Object.entries(table)) {
    const part = /^blocks\.\d+|^[^.]+/.exec(name)![0];
    parts[part] = (parts[part] ?? 0) + countParameters({ [name]: spec });
  }
  return parts;
}

export class LanguageModel {
  readonly config: ModelConfig;
  readonly device: Device;
  readonly backbone: Backbone;
  /** Every parameter by name, to be read. */
  readonly tensors: ParameterTensors;
  readonly #store: Parameters | FrozenParameters;
  #readingActivations: FloatDtype | null = null;

  /**
   * A model with uninitialised parameters that can be trained (see `create`), or one that takes over the parameters
   * given, which stay as they are.
   * @throws ConfigError or RangeError when the configuration is wrong.
   */
  constructor(config: ModelConfigInput, device: Device, frozen: FrozenParameters | null = null) {
    this.config = checkConfig(modelConfigSchema, config, 'model');
    this.device = device;
    this.backbone = new Backbone(this.config);
    this.backbone.checkCausal();
    this.#store = frozen ?? new Parameters(device, tableOf(this.config, this.backbone));
    this.tensors = this.#store.tensors;
  }

  /** A model with the initial values of the specification, decided by the seed alone. */
  static create(config: ModelConfigInput, device: Device, seed = 0): LanguageModel {
    const model = new LanguageModel(config, device);
    model.parameters.initialize(fold(randomKey(seed), 'parameters'));
    return model;
  }

  /**
   * @param tokens  int32 [B,T]
   * @returns       the final hidden vectors [B,T,D], normed, or those of the last step [B,1,D] (see `outputs`), and the
   *                state after the last step
   * @throws RangeError when the shapes do not fit.
   */
  forward(tokens: Tensor, options: ForwardOptions = {}): { hidden: Tensor; state: ModelState } {
    if (tokens.shape.length !== 2)
      throw new RangeError(`forward: tokens must be [B,T], got ${formatShape(tokens.shape)}`);
    return this.backbone.forward(this.tensors, this.#embed(tokens, options.activations), options);
  }

  /** Logits [...,V] of hidden vectors [...,D]. */
  logits(hidden: Tensor): Tensor {
    const { logitSoftCap: cap } = this.config;
    const logits = linear(hidden, this.#head());
    return cap === 0 ? logits : softCap(logits, cap);
  }

  /**
   * Cross-entropy of each next token, in nats.
   * @param tokens   int32 [B,T]
   * @param targets  int32 [B,T], -1 where there is none
   * @returns        losses [B,T] and the state after the last step
   */
  losses(tokens: Tensor, targets: Tensor, options: ForwardOptions = {}): { losses: Tensor; state: ModelState } {
    const { hidden, state } = this.forward(tokens, options);
    return { losses: linearCrossEntropy(hidden, this.#head().unpacked(), targets, this.config.logitSoftCap), state };
  }

  /**
   * scale * the sum of `losses`, to begin a backward pass with: gradients of the output layer are made at once.
   * @param scale  []
   * @returns      the loss [] and the state after the last step
   */
  rootLoss(
    tokens: Tensor,
    targets: Tensor,
    scale: Tensor,
    options: ForwardOptions = {},
  ): { loss: Tensor; state: ModelState } {
    const { hidden, state } = this.forward(tokens, options);
    return { loss: rootCrossEntropy(hidden, this.#head().unpacked(), targets, scale, this.config.logitSoftCap), state };
  }

  /**
   * One token of each sequence.
   * @param tokens  int32 [B]
   * @returns       logits [B,V] and the next state, which with `inPlace` may hold tensors of the one given
   */
  step(tokens: Tensor, state: ModelState, options?: StepOptions): { logits: Tensor; state: ModelState } {
    const { hidden, state: next } = this.backbone.step(this.tensors, this.#embed(tokens), state, options);
    return { logits: this.logits(hidden), state: next };
  }

  /** The state of B sequences before their first token. */
  initialState(B: number): ModelState {
    return this.backbone.initialState(this.device, B);
  }

  /** The parameters in one stretch, to be trained and saved. @throws Error when the model was opened to be run only. */
  get parameters(): Parameters {
    if (this.#store instanceof Parameters) return this.#store;
    throw new Error('model: its weights were opened to be read only; open it with weights "trainable" to change them');
  }

  get blocks(): readonly Block[] {
    return this.backbone.blocks;
  }

  /** Number of parameters, padding not counted. */
  get parameterCount(): number {
    return Object.values(this.tensors).reduce((total, tensor) => total + tensor.size, 0);
  }

  /** Bytes of the parameters on the device, mapped files included. */
  get parameterBytes(): number {
    return Object.values(this.tensors).reduce((total, { buffer }) => total + bytesOf(this.device, buffer), 0);
  }

  /**
   * How activations are stored where a prompt is read: as bf16 where all matrices are and device and mixers can, which is
   * the faster way there; else as float.
   */
  get readingActivations(): FloatDtype {
    return (this.#readingActivations ??=
      this.#matricesAreBf16() && this.backbone.takesBf16(this.device) ? 'bf16' : 'float');
  }

  #matricesAreBf16(): boolean {
    return Object.entries(tableOf(this.config, this.backbone)).every(
      ([name, { dense }]) => dense !== true || this.#tensor(name).packing?.format === WeightFormat.bf16,
    );
  }

  /** Floats in the state of one sequence. */
  get stateSize(): number {
    return this.backbone.stateSize;
  }

  #tensor(name: string): Tensor {
    return this.tensors[name]!;
  }

  #head(): Tensor {
    return this.#tensor(this.config.tieWeights ? 'embedding.weight' : 'head.weight');
  }

  /** Vectors [...,D] of tokens [...]. */
  #embed(tokens: Tensor, dtype?: FloatDtype): Tensor {
    const x = embedding(tokens, this.#tensor('embedding.weight'), dtype);
    if (!this.config.embeddingNorm) return x;
    return applyNorm(this.tensors, 'embeddingNorm', x, this.config.normEps, NORMS[this.config.norm]);
  }

  /** Frees the parameters; the model cannot be used afterwards. */
  dispose(): void {
    this.#store.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
