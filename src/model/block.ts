/**
 * @file A residual block: x + mixer(norm(x)), and for mixers of the post-up-projection frame a second residual with a
 * gated feed-forward layer (arXiv 2405.04517 fig. 10 and 11).
 */
import { applyFeedForward, feedForwardParameters, feedForwardWidth } from '../layers/feed-forward.js';
import { applyNorm, normParameters, NORMS } from '../layers/norm.js';
import { prefixed, under, type ParameterTable, type ParameterTensors } from '../layers/parameter.js';
import type { Mixer, MixerContext, MixerPlace, MixerState, StepOptions } from '../mixers/mixer.js';
import { createMixer, hasFeedForward, type MixerName } from '../mixers/registry.js';
import { dropout } from '../ops/dropout.js';
import { add } from '../ops/elementwise.js';
import { fold } from '../tensor/random.js';
import type { Tensor } from '../tensor/tensor.js';
import { mixerConfigs, type ModelConfig } from './config.js';

export interface Block {
  readonly mixer: Mixer;
  readonly parameters: ParameterTable;
  /** x [B,T,D] -> y [B,T,D] and the state after the last step. */
  forward(p: ParameterTensors, x: Tensor, context: MixerContext): [Tensor, MixerState];
  /** x [B,D] -> y [B,D] and the next state. */
  step(p: ParameterTensors, x: Tensor, state: MixerState, options?: StepOptions): [Tensor, MixerState];
}

/** @throws RangeError when the mixer's options do not fit the width. */
export function createBlock(config: ModelConfig, place: MixerPlace): Block {
  const kind = config.blocks[place.block] as MixerName;
  const mixer = createMixer(kind, mixerConfigs(config), place);
  const D = place.dim;
  const { factor, activation, roundTo } = config.feedForward;
  const form = NORMS[config.norm];
  const withFeedForward = hasFeedForward(kind);
  const parameters = {
    ...prefixed('norm', normParameters(D, form)),
    ...prefixed('mixer', mixer.parameters),
    ...(withFeedForward
      ? {
          ...prefixed('feedForwardNorm', normParameters(D, form)),
          ...prefixed('feedForward', feedForwardParameters(D, feedForwardWidth(D, factor, roundTo), place.blocks)),
        }
      : {}),
  };

  const feedForward = (p: ParameterTensors, x: Tensor, key: MixerContext['key']): Tensor => {
    if (!withFeedForward) return x;
    const normed = applyNorm(p, 'feedForwardNorm', x, config.normEps, form);
    const y = applyFeedForward(under('feedForward', p), normed, activation);
    return add(x, dropout(y, config.dropout, key === null ? null : fold(key, 'feedForward')));
  };

  return {
    mixer,
    parameters,
    forward(p, x, context) {
      const normed = applyNorm(p, 'norm', x, config.normEps, form);
      const [mixed, state] = mixer.forward(under('mixer', p), normed, context);
      return [feedForward(p, add(x, mixed), context.key), state];
    },
    step(p, x, state, options) {
      const normed = applyNorm(p, 'norm', x, config.normEps, form);
      const [mixed, next] = mixer.step(under('mixer', p), normed, state, options);
      return [feedForward(p, add(x, mixed), null), next];
    },
  };
}
