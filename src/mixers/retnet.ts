/**
 * @file Retention (RetNet, Sun et al. 2023, arXiv 2307.08621): linear attention with rotary positions and a decay that is
 * fixed, one per head, a norm per head and a SiLU output gate.
 */
import * as z from 'zod';
import { applyLinear, linearParameters } from '../layers/linear.js';
import { applyNorm, normParameters, NORMS } from '../layers/norm.js';
import { prefixed, type ParameterTable } from '../layers/parameter.js';
import { dropout } from '../ops/dropout.js';
import { gatedActivation } from '../ops/elementwise.js';
import { linearAttention } from '../ops/linear-attention.js';
import { positions, rope } from '../ops/positions.js';
import { Tensor } from '../tensor/tensor.js';
import { defineMixer } from './definition.js';
import { memoryMixer, memorySizes, memoryState, type MemorySizes } from './linear-memory.js';
import { type Mixer, type MixerPlace, type SequenceForm } from './mixer.js';

const retnetOptions = z.strictObject({
  heads: z.number().int().min(1).default(4).describe('Heads; must divide dim into heads of even width.'),
  vFactor: z.number().positive().default(2).describe('Width of all values over dim.'),
  theta: z.number().positive().default(10_000).describe('Base of the rotary positions.'),
});

export type RetnetOptions = z.output<typeof retnetOptions>;

export const retnetMixer = defineMixer({
  name: 'retnet',
  summary: 'retention: linear attention with a fixed decay per head and rotary positions (RetNet, arXiv 2307.08621)',
  options: retnetOptions,
  feedForward: 'layer',
  create: createRetnet,
});

/** log(1 - 2^(-5-h)) of head h (section 2.2 of the paper). */
const logDecays = (NH: number): Float64Array =>
  Float64Array.from({ length: NH }, (_, h) => Math.log1p(-(2 ** (-5 - h))));

/** @throws RangeError when heads does not divide the widths, or into odd ones. */
function createRetnet({ heads, vFactor, theta }: RetnetOptions, place: MixerPlace): Mixer {
  const sizes = memorySizes('retnet', heads, place.dim, vFactor * place.dim);
  if (sizes.DK % 2 !== 0) throw new RangeError(`retnet: heads must have an even width, got ${sizes.DK}`);
  const parameters = retnetParameters(sizes, place);

  const forward: SequenceForm = (p, x, { state, wantState, reset, key }, options = {}) => {
    const [B, T] = x.shape as [number, number, number];
    const [at, position] = positions(x.device, B, T, { state: state?.['position'] ?? null, reset });
    const q = rope(applyLinear(p, 'q', x), at, heads, theta); // [B,T,NH*DK]
    const k = rope(applyLinear(p, 'k', x), at, heads, theta);
    const v = applyLinear(p, 'v', x); // [B,T,NH*DV]
    const logDecay = Tensor.from(x.device, logDecays(heads), [heads]);
    const form = { heads, scale: 1 / Math.sqrt(sizes.DK), state: memoryState(state), reset, wantState, ...options };
    const [o, next] = linearAttention({ q, k, v, logDecay }, form);
    const normed = applyNorm(p, 'headNorm', o, place.normEps, NORMS.rmsnorm, heads);
    const y = applyLinear(p, 'out', gatedActivation(applyLinear(p, 'gate', x), normed, 'silu'));
    return [dropout(y, place.dropout, key), next === null ? {} : { ...next, position }];
  };

  return memoryMixer('retnet', sizes, parameters, forward, (B) => ({
    position: { shape: [B], batchAxis: 0, initial: 0 },
  }));
}

function retnetParameters({ NH, DK, DV }: MemorySizes, place: MixerPlace): ParameterTable {
  const { dim: D, bias, inputInit, outputInit } = place;
  const [keys, values] = [linearParameters(D, NH * DK, inputInit, bias), linearParameters(D, NH * DV, inputInit, bias)];
  return {
    ...prefixed('q', keys),
    ...prefixed('k', keys),
    ...prefixed('v', values),
    ...prefixed('gate', values),
    ...prefixed('headNorm', normParameters(NH * DV, NORMS.rmsnorm)),
    ...prefixed('out', linearParameters(NH * DV, D, outputInit, bias)),
  };
}
