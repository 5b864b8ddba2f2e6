/**
 * @file HGRN2 (Qin et al. 2024, arXiv 2404.07904): linear attention whose keys are what their decays leave, 1 - f, so that
 * the gates of HGRN get a state of a matrix per head. The decays have lower bounds that rise with depth, as in `hgrn.ts`.
 */
import * as z from 'zod';
import { applyLinear, linearParameters } from '../layers/linear.js';
import { applyNorm, normParameters, NORMS } from '../layers/norm.js';
import { prefixed, type ParameterTable } from '../layers/parameter.js';
import { conv1d } from '../ops/conv1d.js';
import { dropout } from '../ops/dropout.js';
import { activate, add, scaled } from '../ops/elementwise.js';
import { linearAttention } from '../ops/linear-attention.js';
import { Tensor } from '../tensor/tensor.js';
import { defineMixer } from './definition.js';
import { memoryMixer, memorySizes, memoryState } from './linear-memory.js';
import { boundTable, lowerBound } from './lower-bounds.js';
import { type Mixer, type MixerPlace, type SequenceForm } from './mixer.js';

const hgrn2Options = z.strictObject({
  headWidth: z
    .number()
    .int()
    .min(1)
    .default(128)
    .describe('Width of a head, which is by how many times the state is expanded; dim where that is smaller.'),
  lowerBounds: z.boolean().default(true).describe('Learned lower bounds of the decays from the second block on.'),
});

export type Hgrn2Options = z.output<typeof hgrn2Options>;

export const hgrn2Mixer = defineMixer({
  name: 'hgrn2',
  summary: 'HGRN with an outer product as its state: keys are what the decays leave (arXiv 2404.07904)',
  options: hgrn2Options,
  feedForward: 'layer',
  create: createHgrn2,
});

/** @throws RangeError when the head width does not divide the width. */
function createHgrn2({ headWidth, lowerBounds }: Hgrn2Options, place: MixerPlace): Mixer {
  const D = place.dim;
  const heads = D / Math.min(headWidth, D);
  if (!Number.isInteger(heads)) throw new RangeError(`hgrn2: headWidth must divide dim, got ${headWidth} and ${D}`);
  const sizes = memorySizes('hgrn2', heads, D, D);
  const parameters = hgrn2Parameters(place, lowerBounds);

  const forward: SequenceForm = (p, x, { state, wantState, reset, key, shared }, options = {}) => {
    const bound = lowerBounds ? lowerBound('hgrn2', p, place, shared) : null;
    const q = activate(applyLinear(p, 'q', x), 'silu'); // [B,T,D]
    const { k, logDecay } = gates(applyLinear(p, 'forget', x), bound);
    const v = applyLinear(p, 'input', x);
    const form = { heads, state: memoryState(state), reset, wantState, ...options };
    const [o, next] = linearAttention({ q, k, v, logDecay }, form);
    const normed = applyNorm(p, 'outNorm', o, place.normEps, NORMS.rmsnorm);
    return [dropout(applyLinear(p, 'out', normed), place.dropout, key), { ...next }];
  };

  return memoryMixer('hgrn2', sizes, parameters, forward);
}

/**
 * log f and k = 1 - f for f = l + (1 - l) sigmoid(x), l = sigmoid(bound), or l = 0 without a bound; both [B,T,D]. In terms
 * that are accurate where f is nearly 0 or 1: f = (1 + l e^-x) / (1 + e^-x), 1 - f = (1 - l) sigmoid(-x).
 */
function gates(x: Tensor, bound: Tensor | null): { k: Tensor; logDecay: Tensor } {
  const D = x.extent(-1);
  const logSigmoid = activate(x, 'logsigmoid');
  const closed = activate(scaled(x, -1), 'sigmoid');
  if (bound === null) return { k: closed, logDecay: logSigmoid };
  const logBound = activate(bound, 'logsigmoid');
  const rest = activate(scaled(bound, -1), 'sigmoid'); // 1 - l
  // A convolution of one tap multiplies and shifts each channel by numbers of its own.
  const [shifted] = conv1d(x, Tensor.full(x.device, [D, 1], -1), logBound); // log l - x
  const [k] = conv1d(closed, rest.reshape([D, 1]), null);
  return { k, logDecay: add(activate(shifted, 'softplus'), logSigmoid) };
}

function hgrn2Parameters(place: MixerPlace, lowerBounds: boolean): ParameterTable {
  const { dim: D, bias, inputInit, outputInit } = place;
  const map = linearParameters(D, D, inputInit, bias);
  return {
    ...prefixed('q', map),
    ...prefixed('forget', map),
    ...prefixed('input', map),
    ...(lowerBounds ? boundTable(place) : {}),
    ...prefixed('outNorm', normParameters(D, NORMS.rmsnorm)),
    ...prefixed('out', linearParameters(D, D, outputInit, bias)),
  };
}
