/**
 * @file Gated linear attention (GLA, Yang et al. 2023, arXiv 2312.06635): a memory whose key channels decay each at a rate
 * that depends on the input, by a map of low rank; a norm per head and a SiLU output gate.
 */
import * as z from 'zod';
import { applyLinear, linearParameters } from '../layers/linear.js';
import { applyNorm, normParameters, NORMS } from '../layers/norm.js';
import { prefixed, type ParameterTable } from '../layers/parameter.js';
import { dropout } from '../ops/dropout.js';
import { activate, gatedActivation, scaled } from '../ops/elementwise.js';
import { linearAttention } from '../ops/linear-attention.js';
import { defineMixer } from './definition.js';
import { memoryMixer, memorySizes, memoryState, type MemorySizes } from './linear-memory.js';
import { type Mixer, type MixerPlace, type SequenceForm } from './mixer.js';

const glaOptions = z.strictObject({
  heads: z.number().int().min(1).default(4).describe('Heads; must divide the widths of keys and values.'),
  qkFactor: z.number().positive().default(0.5).describe('Width of all queries, and of all keys, over dim.'),
  vFactor: z.number().positive().default(1).describe('Width of all values over dim.'),
  decayRank: z.number().int().min(1).default(16).describe('Rank of the map to the decays.'),
  decayTemperature: z
    .number()
    .positive()
    .default(16)
    .describe('The log of a decay is a log sigmoid over it: the larger, the longer the memory.'),
});

export type GlaOptions = z.output<typeof glaOptions>;

export const glaMixer = defineMixer({
  name: 'gla',
  summary: 'gated linear attention: a decay for every key channel that depends on the input (arXiv 2312.06635)',
  options: glaOptions,
  feedForward: 'layer',
  create: createGla,
});

/** @throws RangeError when heads does not divide the widths of keys and values. */
function createGla(options: GlaOptions, place: MixerPlace): Mixer {
  const { heads, decayTemperature } = options;
  const D = place.dim;
  const sizes = memorySizes('gla', heads, options.qkFactor * D, options.vFactor * D);
  const parameters = glaParameters(sizes, options, place);

  const forward: SequenceForm = (p, x, { state, wantState, reset, key }, stepOptions = {}) => {
    const open = applyLinear(p, 'decay', applyLinear(p, 'decayDown', x)); // [B,T,NH*DK]
    const inputs = {
      q: applyLinear(p, 'q', x),
      k: applyLinear(p, 'k', x),
      v: applyLinear(p, 'v', x), // [B,T,NH*DV]
      logDecay: scaled(activate(open, 'logsigmoid'), 1 / decayTemperature),
    };
    const scale = 1 / Math.sqrt(sizes.DK);
    const [o, next] = linearAttention(inputs, {
      ...{ heads, scale, state: memoryState(state), reset, wantState },
      ...stepOptions,
    });
    const normed = applyNorm(p, 'headNorm', o, place.normEps, NORMS.rmsnorm, heads);
    const y = applyLinear(p, 'out', gatedActivation(applyLinear(p, 'gate', x), normed, 'silu'));
    return [dropout(y, place.dropout, key), { ...next }];
  };

  return memoryMixer('gla', sizes, parameters, forward);
}

function glaParameters({ NH, DK, DV }: MemorySizes, { decayRank: R }: GlaOptions, place: MixerPlace): ParameterTable {
  const { dim: D, bias, inputInit, outputInit } = place;
  const keys = linearParameters(D, NH * DK, inputInit, bias);
  const values = linearParameters(D, NH * DV, inputInit, bias);
  return {
    ...prefixed('q', keys),
    ...prefixed('k', keys),
    ...prefixed('v', values),
    ...prefixed('decayDown', linearParameters(D, R, inputInit, false)),
    ...prefixed('decay', linearParameters(R, NH * DK, inputInit, true)),
    ...prefixed('gate', values),
    ...prefixed('headNorm', normParameters(NH * DV, NORMS.rmsnorm)),
    ...prefixed('out', linearParameters(NH * DV, D, outputInit, bias)),
  };
}
