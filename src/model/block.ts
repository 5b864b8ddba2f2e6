/**
 * @file A residual block: x + mixer(norm(x)), and where the architecture has one a second residual with a feed-forward
 * layer or the channel mix of RWKV (arXiv 2405.04517 fig. 10 and 11; arXiv 2305.13048 fig. 2).
 */
import {
  applyChannelMix,
  applyPlainChannelMix,
  channelMixParameters,
  plainChannelMixParameters,
} from '../layers/channel-mix.js';
import { applyFeedForward, feedForwardParameters, feedForwardWidth } from '../layers/feed-forward.js';
import { applyNorm, normParameters, NORMS } from '../layers/norm.js';
import { prefixed, under, type ParameterTable, type ParameterTensors } from '../layers/parameter.js';
import type { FeedForwardKind } from '../mixers/definition.js';
import {
  wanted,
  type Mixer,
  type MixerContext,
  type MixerPlace,
  type MixerState,
  type Stateful,
  type StepOptions,
} from '../mixers/mixer.js';
import { findMixer } from '../mixers/registry.js';
import { dropout } from '../ops/dropout.js';
import { add } from '../ops/elementwise.js';
import { fold } from '../tensor/random.js';
import type { Tensor } from '../tensor/tensor.js';
import { mixerOptions, type ModelConfig } from './config.js';
import { initialMatrices } from './initial-matrices.js';

/** Its state is that of the mixer, and of what stands behind it. */
export interface Block extends Stateful {
  readonly mixer: Mixer;
  readonly parameters: ParameterTable;
  /** Multiply-adds counted as two, of a forward pass over a sequence of T steps, per token. */
  flopsPerToken(T: number): number;
  /** x [B,T,D] -> y [B,T,D], or with `outputs` of the last step perhaps [B,1,D], and the state after the last step. */
  forward(p: ParameterTensors, x: Tensor, context: MixerContext): [Tensor, MixerState];
  /** x [B,D] -> y [B,D] and the next state. */
  step(p: ParameterTensors, x: Tensor, state: MixerState, options?: StepOptions): [Tensor, MixerState];
}

/** Where block number `block` sits. */
export function placeOf(config: ModelConfig, block: number): MixerPlace {
  const { dim, dropout: rate, normEps, bias } = config;
  const kind = config.blocks[block];
  const same = config.blocks.flatMap((other, index) => (other === kind ? [index] : []));
  const depth = { block, blocks: config.blocks.length, kindIndex: same.indexOf(block), kindBlocks: same.length };
  return { dim, ...depth, dropout: rate, normEps, bias, ...initialMatrices(config) };
}

/** What stands behind a mixer: its second residual branch. */
interface SecondBranch extends Stateful {
  readonly parameters: ParameterTable;
  readonly flopsPerToken: number;
  /** x [B,T,D], or one step [B,D], to the same shape, and the next state. */
  apply(p: ParameterTensors, x: Tensor, context: Pick<MixerContext, 'state' | 'reset'>): [Tensor, MixerState];
}

/** Name of the channel mix's state within that of its block. */
const SHIFT = 'channelMix';

/** A token of a plain or gated layer multiplies each of its weights once. */
const weightsOf = (parameters: ParameterTable): number =>
  Object.values(parameters).reduce((sum, { shape }) => sum + (shape.length > 1 ? shape[0]! * shape[1]! : 0), 0);

function createFeedForward(config: ModelConfig, place: MixerPlace): SecondBranch {
  const { factor, activation, roundTo, kind, bias } = config.feedForward;
  const { dim: D, inputInit, outputInit } = place;
  const form = { kind, bias, inputInit, outputInit };
  const parameters = prefixed('feedForward', feedForwardParameters(D, feedForwardWidth(D, factor, roundTo), form));
  return {
    parameters,
    flopsPerToken: 2 * weightsOf(parameters),
    stateSpecs: () => ({}),
    apply: (p, x) => [applyFeedForward(under('feedForward', p), x, kind, activation), {}],
  };
}

/** With the sigmoid gate of RWKV-4 to 6, or without as in RWKV-7. */
function createChannelMix(config: ModelConfig, place: MixerPlace, gated: boolean): SecondBranch {
  const { factor, roundTo } = config.feedForward;
  const D = place.dim;
  const make = gated ? channelMixParameters : plainChannelMixParameters;
  const apply = gated ? applyChannelMix : applyPlainChannelMix;
  const parameters = prefixed('channelMix', make(D, feedForwardWidth(D, factor, roundTo), place));
  return {
    parameters,
    flopsPerToken: 2 * weightsOf(parameters),
    stateSpecs: (B) => ({ [SHIFT]: { shape: [B, 1, D], batchAxis: 0, initial: 0 } }),
    apply(p, x, { state, reset }) {
      const steps = x.shape.length === 3 ? x : x.reshape([x.extent(0), 1, D]);
      const [y, last] = apply(under('channelMix', p), steps, state?.[SHIFT] ?? null, reset);
      return [y.reshape(x.shape), { [SHIFT]: last }];
    },
  };
}

function secondBranch(published: FeedForwardKind, config: ModelConfig, place: MixerPlace): SecondBranch | null {
  const { behind } = config.feedForward;
  if (behind === 'none' || (behind === 'published' && published === 'none')) return null;
  if (published === 'channelMix') return createChannelMix(config, place, true);
  if (published === 'plainChannelMix') return createChannelMix(config, place, false);
  return createFeedForward(config, place);
}

/** @throws RangeError when the mixer's options do not fit the width. */
export function createBlock(config: ModelConfig, place: MixerPlace): Block {
  const kind = config.blocks[place.block]!;
  const definition = findMixer(kind)!;
  const mixer = definition.create(mixerOptions(config, kind), place);
  return config.frame === 'stacked' ? bareBlock(mixer) : residualBlock(config, place, mixer, definition.feedForward);
}

/** A mixer alone: neither norm nor residual connection. */
const bareBlock = (mixer: Mixer): Block => ({
  mixer,
  parameters: prefixed('mixer', mixer.parameters),
  flopsPerToken: (T) => mixer.flopsPerToken(T),
  stateSpecs: (B) => mixer.stateSpecs(B),
  forward: (p, x, context) => mixer.forward(under('mixer', p), x, context),
  step: (p, x, state, options) => mixer.step(under('mixer', p), x, state, options),
});

function residualBlock(config: ModelConfig, place: MixerPlace, mixer: Mixer, published: FeedForwardKind): Block {
  const D = place.dim;
  const form = NORMS[config.norm];
  const second = secondBranch(published, config, place);
  const readsAll = second !== null && Object.keys(second.stateSpecs(1)).length > 0;
  const parameters = {
    ...prefixed('norm', normParameters(D, form)),
    ...prefixed('mixer', mixer.parameters),
    ...(second === null ? {} : { ...prefixed('feedForwardNorm', normParameters(D, form)), ...second.parameters }),
  };

  const behind = (p: ParameterTensors, x: Tensor, context: Pick<MixerContext, 'state' | 'reset' | 'key'>) => {
    if (second === null) return [x, {}] as const;
    const normed = applyNorm(p, 'feedForwardNorm', x, config.normEps, form);
    const [y, state] = second.apply(p, normed, context);
    const key = context.key === null ? null : fold(context.key, 'feedForward');
    return [add(x, dropout(y, config.dropout, key)), state] as const;
  };

  return {
    mixer,
    parameters,
    flopsPerToken: (T) => mixer.flopsPerToken(T) + (second?.flopsPerToken ?? 0),
    stateSpecs: (B) => ({ ...mixer.stateSpecs(B), ...second?.stateSpecs(B) }),
    forward(p, x, context) {
      const normed = applyNorm(p, 'norm', x, config.normEps, form);
      // What stands behind the mixer reads all steps where it has a state of its own.
      const outputs = readsAll ? 'all' : context.outputs;
      const pick = wanted(outputs);
      const [mixed, state] = mixer.forward(under('mixer', p), normed, { ...context, outputs });
      const [y, shifted] = behind(p, add(pick(x), pick(mixed)), context);
      return [y, { ...state, ...shifted }];
    },
    step(p, x, state, options) {
      const normed = applyNorm(p, 'norm', x, config.normEps, form);
      const [mixed, next] = mixer.step(under('mixer', p), normed, state, options);
      const [y, shifted] = behind(p, add(x, mixed), { state, reset: null, key: null });
      return [y, { ...next, ...shifted }];
    },
  };
}
