/**
 * @file HGRN (arXiv 2311.04823) in its real form, as the comparisons of later papers have it: a diagonal recurrence whose
 * forget gates have a lower bound that rises with depth, normed and gated.
 *
 * The paper makes the bounds of all layers of one table, by a cumulative softmax over its rows. Here each block has its
 * own bound as a parameter, since a block's parameters are its own; it starts where the paper's does, at the share of
 * blocks that lie before, and may end anywhere in (0, 1). The first block has none, as in the paper.
 */
import { z } from 'zod';
import { applyLinear, linearParameters } from '../layers/linear.js';
import { applyNorm, normParameters, NORMS } from '../layers/norm.js';
import {
  constant,
  countParameters,
  prefixed,
  type ParameterTable,
  type ParameterTensors,
} from '../layers/parameter.js';
import { conv1d } from '../ops/conv1d.js';
import { dropout } from '../ops/dropout.js';
import { activate, gatedActivation } from '../ops/elementwise.js';
import { linear } from '../ops/linear.js';
import { scan } from '../ops/scan.js';
import { Tensor } from '../tensor/tensor.js';
import { defineMixer } from './definition.js';
import { stepBy, type Mixer, type MixerContext, type MixerPlace, type MixerState } from './mixer.js';

const hgrnOptions = z.strictObject({
  lowerBounds: z.boolean().default(true).describe('Learned lower bounds of the forget gates from the second block on.'),
});

export type HgrnOptions = z.output<typeof hgrnOptions>;

export const hgrnMixer = defineMixer({
  name: 'hgrn',
  summary: 'gated diagonal recurrence with lower bounds that rise with depth, real (HGRN, arXiv 2311.04823)',
  options: hgrnOptions,
  feedForward: 'layer',
  create: createHgrn,
});

function createHgrn({ lowerBounds }: HgrnOptions, place: MixerPlace): Mixer {
  const { dim: D, normEps } = place;
  const parameters = hgrnParameters(place, lowerBounds);

  const forward = (p: ParameterTensors, x: Tensor, { state, reset, key }: MixerContext): [Tensor, MixerState] => {
    const open = activate(applyLinear(p, 'forget', x), 'sigmoid'); // [B,T,D]
    const { forget, complement } = gates(open, p['bound'] ?? null);
    const input = gatedActivation(applyLinear(p, 'input', x), complement, 'silu');
    const [h, last] = scan(forget, input, { state: state?.['h'] ?? null, reset });
    const normed = applyNorm(p, 'outNorm', h, normEps, NORMS.rmsnorm);
    const gated = gatedActivation(applyLinear(p, 'gate', x), normed, 'silu');
    return [dropout(applyLinear(p, 'out', gated), place.dropout, key), { h: last }];
  };

  return {
    kind: 'hgrn',
    causal: true,
    parameters,
    stateSpecs: (B) => ({ h: { shape: [B, D], batchAxis: 0, initial: 0 } }),
    forward,
    step: stepBy(forward),
    flopsPerToken: () => 2 * countParameters(parameters) + 8 * D,
  };
}

/** f = l + (1 - l) open with the bound l = sigmoid(bound), or l = 0 without one, and 1 - f: both [B,T,D]. */
function gates(open: Tensor, bound: Tensor | null): { forget: Tensor; complement: Tensor } {
  const D = open.extent(-1);
  const { device } = open;
  const zeros = Tensor.full(device, [D, 1], 0);
  const low = bound === null ? zeros : activate(bound, 'sigmoid').reshape([D, 1]);
  // Of one row each: factor * low + offset.
  const affine = (factor: number, offset: number): Tensor =>
    linear(low, Tensor.full(device, [1, 1], factor), Tensor.full(device, [1], offset));
  const rest = affine(-1, 1); // 1 - l
  // A convolution of one tap multiplies and shifts each channel by numbers of its own.
  const perChannel = (weight: Tensor, bias: Tensor): Tensor => conv1d(open, weight, bias.reshape([D]))[0];
  return {
    forget: bound === null ? open : perChannel(rest, low),
    complement: perChannel(affine(1, -1), rest),
  };
}

/** The logit of a learned lower bound per channel, which starts at block / NB; the first block has none. */
export function lowerBound({ dim: D, block, blocks }: MixerPlace): ParameterTable {
  if (block === 0) return {};
  const start = block / blocks;
  return { bound: { shape: [D], init: constant(Math.log(start / (1 - start))), decay: false } };
}

function hgrnParameters(place: MixerPlace, lowerBounds: boolean): ParameterTable {
  const { dim: D, bias, inputInit, outputInit } = place;
  const map = linearParameters(D, D, inputInit, bias);
  return {
    ...prefixed('forget', map),
    ...prefixed('input', map),
    ...prefixed('gate', map),
    ...(lowerBounds ? lowerBound(place) : {}),
    ...prefixed('outNorm', normParameters(D, NORMS.rmsnorm)),
    ...prefixed('out', linearParameters(D, D, outputInit, bias)),
  };
}
