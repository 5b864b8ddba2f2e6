/**
 * @file The xLSTM language model: embedding, residual blocks, final norm, output layer (arXiv 2405.04517 sec. 2.4).
 * It does not train, sample or read files.
 */
import { bytesOf, type Device } from '../device/device.js';
import { applyNorm, normParameters, NORMS } from '../layers/norm.js';
import {
  countParameters,
  prefixed,
  smallInit,
  under,
  type ParameterTable,
  type ParameterTensors,
} from '../layers/parameter.js';
import { initialState, stateSize, type MixerContext, type MixerState, type StepOptions } from '../mixers/mixer.js';
import { checkpoint } from '../ops/checkpoint.js';
import { embedding } from '../ops/embedding.js';
import { linearCrossEntropy } from '../ops/linear-cross-entropy.js';
import { linear } from '../ops/linear.js';
import type { Reset } from '../ops/reset.js';
import { softCap } from '../ops/soft-cap.js';
import { fold, randomKey, type RandomKey } from '../tensor/random.js';
import { currentScope } from '../tensor/scope.js';
import { formatShape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { createBlock, type Block } from './block.js';
import { checkConfig } from './check-config.js';
import { modelConfigSchema, type ModelConfig, type ModelConfigInput } from './config.js';
import { Parameters, type FrozenParameters } from './parameters.js';
import { ModelState } from './state.js';

export interface ForwardOptions {
  /** State after what came before; null to start afresh. */
  readonly state?: ModelState | null;
  /** uint8 [B,T], 1 where a new document begins. */
  readonly reset?: Reset;
  /** Key of the dropout masks; null (the default) at inference. */
  readonly key?: RandomKey | null;
  /** Recompute each block in the backward pass instead of keeping its activations. Default false. */
  readonly checkpointBlocks?: boolean;
}

/** The blocks of a configuration. @throws RangeError when an option does not fit the width. */
export const createBlocks = (config: ModelConfig): Block[] =>
  config.blocks.map((_, block) => createBlock(config, { dim: config.dim, block, blocks: config.blocks.length }));

function tableOf(config: ModelConfig, blocks: readonly Block[]): ParameterTable {
  const { dim: D, vocabSize: V } = config;
  const table = { shape: [V, D], init: smallInit(D), dense: true };
  return {
    'embedding.weight': { ...table, decay: false },
    ...Object.assign({}, ...blocks.map((block, index) => prefixed(`blocks.${index}`, block.parameters))),
    ...(config.outputNorm ? prefixed('norm', normParameters(D, NORMS[config.norm])) : {}),
    ...(config.tieWeights ? {} : { 'head.weight': { ...table, decay: true } }),
  };
}

/** All parameters that a model of this configuration has, without allocating it. */
export function parameterTable(config: ModelConfigInput): ParameterTable {
  const checked = checkConfig(modelConfigSchema, config, 'model');
  return tableOf(checked, createBlocks(checked));
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
  readonly blocks: readonly Block[];
  /** Every parameter by name, to be read. */
  readonly tensors: ParameterTensors;
  readonly #store: Parameters | FrozenParameters;
  readonly #blockTensors: readonly ParameterTensors[];

  /**
   * A model with uninitialised parameters that can be trained (see `create`), or one that takes over the parameters
   * given, which stay as they are.
   * @throws ConfigError or RangeError when the configuration is wrong.
   */
  constructor(config: ModelConfigInput, device: Device, frozen: FrozenParameters | null = null) {
    this.config = checkConfig(modelConfigSchema, config, 'model');
    this.device = device;
    this.blocks = createBlocks(this.config);
    this.#store = frozen ?? new Parameters(device, tableOf(this.config, this.blocks));
    this.tensors = this.#store.tensors;
    this.#blockTensors = this.blocks.map((_, index) => under(`blocks.${index}`, this.tensors));
  }

  /** A model with the initial values of the specification, decided by the seed alone. */
  static create(config: ModelConfigInput, device: Device, seed = 0): LanguageModel {
    const model = new LanguageModel(config, device);
    model.parameters.initialize(fold(randomKey(seed), 'parameters'));
    return model;
  }

  /**
   * @param tokens  int32 [B,T]
   * @returns       the final hidden vectors [B,T,D], normed, and the state after the last step
   * @throws RangeError when the shapes do not fit.
   */
  forward(tokens: Tensor, options: ForwardOptions = {}): { hidden: Tensor; state: ModelState } {
    if (tokens.shape.length !== 2)
      throw new RangeError(`forward: tokens must be [B,T], got ${formatShape(tokens.shape)}`);
    const { state = null, reset = null, key = null, checkpointBlocks = false } = options;
    let x = embedding(tokens, this.#tensor('embedding.weight')); // [B,T,D]
    const states = this.blocks.map((block, index) => {
      const context = { state: state?.blocks[index] ?? null, reset, key: key === null ? null : fold(key, index) };
      const run = checkpointBlocks ? checkpointed : direct;
      const p = this.#blockTensors[index]!;
      const [y, next] = currentScope(this.device).within(`blocks.${index}`, () => run(block, p, x, context));
      x = y;
      return next;
    });
    return { hidden: this.#finalNorm(x), state: new ModelState(states) };
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
   * One token of each sequence.
   * @param tokens  int32 [B]
   * @returns       logits [B,V] and the next state, which with `inPlace` may hold tensors of the one given
   */
  step(tokens: Tensor, state: ModelState, options?: StepOptions): { logits: Tensor; state: ModelState } {
    let x = embedding(tokens, this.#tensor('embedding.weight')); // [B,D]
    const states = this.blocks.map((block, index) => {
      const [y, next] = block.step(this.#blockTensors[index]!, x, state.blocks[index]!, options);
      x = y;
      return next;
    });
    return { logits: this.logits(this.#finalNorm(x)), state: new ModelState(states) };
  }

  /** The state of B sequences before their first token. */
  initialState(B: number): ModelState {
    return new ModelState(this.blocks.map(({ mixer }) => initialState(mixer, this.device, B)));
  }

  /** The parameters in one stretch, to be trained and saved. @throws Error when the model was opened to be run only. */
  get parameters(): Parameters {
    if (this.#store instanceof Parameters) return this.#store;
    throw new Error('model: its weights were opened to be read only; open it with weights "trainable" to change them');
  }

  /** Number of parameters, padding not counted. */
  get parameterCount(): number {
    return Object.values(this.tensors).reduce((total, tensor) => total + tensor.size, 0);
  }

  /** Bytes of the parameters on the device, mapped files included. */
  get parameterBytes(): number {
    return Object.values(this.tensors).reduce((total, { buffer }) => total + bytesOf(this.device, buffer), 0);
  }

  /** Floats in the state of one sequence. */
  get stateSize(): number {
    return this.blocks.reduce((total, { mixer }) => total + stateSize(mixer), 0);
  }

  #tensor(name: string): Tensor {
    return this.tensors[name]!;
  }

  #head(): Tensor {
    return this.#tensor(this.config.tieWeights ? 'embedding.weight' : 'head.weight');
  }

  #finalNorm(x: Tensor): Tensor {
    if (!this.config.outputNorm) return x;
    return applyNorm(this.tensors, 'norm', x, this.config.normEps, NORMS[this.config.norm]);
  }

  /** Frees the parameters; the model cannot be used afterwards. */
  dispose(): void {
    this.#store.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

type RunBlock = (block: Block, p: ParameterTensors, x: Tensor, context: MixerContext) => [Tensor, MixerState];

const direct: RunBlock = (block, p, x, context) => block.forward(p, x, context);

const checkpointed: RunBlock = (block, p, x, context) => {
  const before = Object.entries(context.state ?? {});
  let names: string[] = [];
  const [y, ...after] = checkpoint(
    ([input, ...states]) => {
      const state = context.state === null ? null : Object.fromEntries(before.map(([name], k) => [name, states[k]!]));
      const [output, next] = block.forward(p, input!, { ...context, state });
      names = Object.keys(next);
      return [output, ...Object.values(next)];
    },
    [x, ...before.map(([, tensor]) => tensor)],
    Object.values(p),
  );
  return [y!, Object.fromEntries(after.map((tensor, k) => [names[k]!, tensor]))];
};
