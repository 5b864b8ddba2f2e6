/**
 * @file A model of sequences that need not be text: it reads tokens or vectors, and says a token or numbers at each step, or
 * one class for a whole sequence. The same backbone as the language model's, between other ends. It does not train.
 */
import type { Device } from '../device/device.js';
import { applyLinear, linearParameters } from '../layers/linear.js';
import { applyNorm, normParameters, NORMS } from '../layers/norm.js';
import { countParameters, prefixed, type ParameterTable } from '../layers/parameter.js';
import { activate, mul, subtract } from '../ops/elementwise.js';
import { embedding } from '../ops/embedding.js';
import { linearConcat } from '../ops/linear.js';
import { fold, randomKey } from '../tensor/random.js';
import { Tensor } from '../tensor/tensor.js';
import { Backbone, type ForwardOptions } from './backbone.js';
import { checkConfig } from './check-config.js';
import { modelConfigSchema, type ModelConfig, type ModelConfigInput } from './config.js';
import { embeddingInit, headInit, initialMatrices } from './initial-matrices.js';
import { Parameters } from './parameters.js';
import type { ModelState } from './state.js';

/** What a model reads at each step. */
export type SequenceInput =
  { readonly kind: 'tokens'; readonly vocabSize: number } | { readonly kind: 'vectors'; readonly width: number };

/** What it says: a token per step, one class per sequence (or pair of sequences), or numbers per step. */
export type SequenceOutput =
  | { readonly kind: 'tokens'; readonly vocabSize: number }
  | { readonly kind: 'class'; readonly classes: number; readonly towers?: 1 | 2 }
  | { readonly kind: 'values'; readonly width: number };

export interface SequenceEnds {
  readonly input: SequenceInput;
  readonly output: SequenceOutput;
}

function inputParameters(config: ModelConfig, input: SequenceInput): ParameterTable {
  const { dim: D } = config;
  if (input.kind === 'vectors') return prefixed('input', linearParameters(input.width, D, embeddingInit(config), true));
  return {
    'embedding.weight': { shape: [input.vocabSize, D], init: embeddingInit(config), decay: false, dense: true },
  };
}

function outputParameters(config: ModelConfig, output: SequenceOutput): ParameterTable {
  const { dim: D } = config;
  const head = (O: number, bias: boolean) => prefixed('head', linearParameters(D, O, headInit(config), bias));
  if (output.kind === 'tokens') return head(output.vocabSize, false);
  if (output.kind === 'values') return head(output.width, true);
  const { inputInit } = initialMatrices(config);
  const pair = output.towers === 2 ? prefixed('pair', linearParameters(4 * D, D, inputInit, true)) : {};
  return { ...pair, ...head(output.classes, false) };
}

function tableOf(config: ModelConfig, backbone: Backbone, { input, output }: SequenceEnds): ParameterTable {
  const { dim: D, tieWeights } = config;
  return {
    ...inputParameters(config, input),
    ...(config.embeddingNorm ? prefixed('embeddingNorm', normParameters(D, NORMS[config.norm])) : {}),
    ...backbone.parameters,
    ...(tieWeights && canTie({ input, output }) ? {} : outputParameters(config, output)),
  };
}

/** Whether the embedding can serve as output layer: both are of the same tokens. */
const canTie = ({ input, output }: SequenceEnds): boolean =>
  input.kind === 'tokens' && output.kind === 'tokens' && input.vocabSize === output.vocabSize;

/** All parameters that a model of this configuration has between these ends, without allocating it. */
export function sequenceParameterTable(config: ModelConfigInput, ends: SequenceEnds): ParameterTable {
  const checked = checkConfig(modelConfigSchema, config, 'model');
  return tableOf(checked, new Backbone(checked), ends);
}

export class SequenceModel {
  readonly config: ModelConfig;
  readonly ends: SequenceEnds;
  readonly device: Device;
  readonly backbone: Backbone;
  readonly parameters: Parameters;
  readonly #table: ParameterTable;

  /**
   * A model with uninitialised parameters (see `create`). `vocabSize` of the configuration does not count: the ends say.
   * @throws ConfigError or RangeError when the configuration is wrong, or looks ahead where the output must not.
   */
  constructor(config: ModelConfigInput, ends: SequenceEnds, device: Device) {
    this.config = checkConfig(modelConfigSchema, config, 'model');
    this.ends = ends;
    this.device = device;
    this.backbone = new Backbone(this.config);
    if (ends.output.kind !== 'class') this.backbone.checkCausal();
    this.#table = tableOf(this.config, this.backbone, ends);
    this.parameters = new Parameters(device, this.#table);
  }

  /** A model with the initial values of the specification, decided by the seed alone. */
  static create(config: ModelConfigInput, ends: SequenceEnds, device: Device, seed = 0): SequenceModel {
    const model = new SequenceModel(config, ends, device);
    model.parameters.initialize(fold(randomKey(seed), 'parameters'));
    return model;
  }

  /**
   * @param x  int32 tokens [B,T], or vectors [B,T,width]
   * @returns  the final hidden vectors [B,T,D], normed, and the state after the last step
   */
  forward(x: Tensor, options: ForwardOptions = {}): { hidden: Tensor; state: ModelState } {
    return this.backbone.forward(this.parameters.tensors, this.#embed(x), options);
  }

  /** What the model says of hidden vectors [...,D]: logits [...,classes] or numbers [...,width]. */
  output(hidden: Tensor): Tensor {
    return applyLinear(this.headTensors, 'head', hidden);
  }

  /** One vector [B,D] of two pooled sequences [B,D] each: of both, their product and their difference. */
  pair(first: Tensor, second: Tensor): Tensor {
    const { tensors } = this.parameters;
    const features = [first, second, mul(first, second), subtract(first, second)];
    return activate(linearConcat(features, tensors['pair.weight']!, tensors['pair.bias']), 'relu');
  }

  /** The parameters of the output layer under the name "head". */
  get headTensors(): Readonly<Record<string, Tensor>> {
    const { tensors } = this.parameters;
    if (tensors['head.weight'] !== undefined) return tensors;
    return { 'head.weight': tensors['embedding.weight']! };
  }

  /** Number of parameters, padding not counted. */
  get parameterCount(): number {
    return countParameters(this.#table);
  }

  /** Multiply-adds counted as two, of a forward pass over a sequence of T steps, per token, the output layer included. */
  flopsPerToken(T: number): number {
    const head = this.headTensors['head.weight']!;
    const perStep = this.ends.output.kind === 'class' ? 0 : 2 * head.size;
    return this.backbone.flopsPerToken(T) + perStep;
  }

  #embed(x: Tensor): Tensor {
    const { tensors } = this.parameters;
    const vectors =
      this.ends.input.kind === 'tokens' ? embedding(x, tensors['embedding.weight']!) : applyLinear(tensors, 'input', x);
    if (!this.config.embeddingNorm) return vectors;
    return applyNorm(tensors, 'embeddingNorm', vectors, this.config.normEps, NORMS[this.config.norm]);
  }

  dispose(): void {
    this.parameters.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
