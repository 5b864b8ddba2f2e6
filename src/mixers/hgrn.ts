/**
 * @file HGRN (arXiv 2311.04823) in its real form, as the comparisons of later papers have it: a diagonal recurrence whose
 * forget gates have a lower bound that rises with depth, normed and gated.
 */
import * as z from 'zod';
import { applyLinear, linearParameters } from '../layers/linear.js';
import { applyNorm, normParameters, NORMS } from '../layers/norm.js';
import { countParameters, prefixed, type ParameterTable, type ParameterTensors } from '../layers/parameter.js';
import { conv1d } from '../ops/conv1d.js';
import { dropout } from '../ops/dropout.js';
import { activate, gatedActivation } from '../ops/elementwise.js';
import { linear } from '../ops/linear.js';
import { scan } from '../ops/scan.js';
import { Tensor } from '../tensor/tensor.js';
import { defineMixer } from './definition.js';
import { boundTable, lowerBound } from './lower-bounds.js';
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

  const forward = (p: ParameterTensors, x: Tensor, context: MixerContext): [Tensor, MixerState] => {
    const { state, reset, key, shared } = context;
    const bound = lowerBounds ? lowerBound('hgrn', p, place, shared) : null;
    const open = activate(applyLinear(p, 'forget', x), 'sigmoid'); // [B,T,D]
    const { forget, complement } = gates(open, bound);
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

function hgrnParameters(place: MixerPlace, lowerBounds: boolean): ParameterTable {
  const { dim: D, bias, inputInit, outputInit } = place;
  const map = linearParameters(D, D, inputInit, bias);
  return {
    ...prefixed('forget', map),
    ...prefixed('input', map),
    ...prefixed('gate', map),
    ...(lowerBounds ? boundTable(place) : {}),
    ...prefixed('outNorm', normParameters(D, NORMS.rmsnorm)),
    ...prefixed('out', linearParameters(D, D, outputInit, bias)),
  };
}
