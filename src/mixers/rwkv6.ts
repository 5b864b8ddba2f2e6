/**
 * @file The time mix of RWKV-6 (Finch, Peng et al. 2024, arXiv 2404.05892): that of RWKV-5 with a decay that depends on the
 * input, and with a token shift that does, both through maps of low rank.
 */
import * as z from 'zod';
import { applyLinear, linearParameters } from '../layers/linear.js';
import { constant, prefixed, type ParameterTable, type ParameterTensors } from '../layers/parameter.js';
import { dropout } from '../ops/dropout.js';
import { activate, add, mul, scaled, subtract } from '../ops/elementwise.js';
import { linear } from '../ops/linear.js';
import { linearAttention } from '../ops/linear-attention.js';
import { tokenShift } from '../ops/token-shift.js';
import { Tensor } from '../tensor/tensor.js';
import { defineMixer } from './definition.js';
import { memoryMixer, memoryState } from './linear-memory.js';
import { type Mixer, type MixerContext, type MixerPlace, type SequenceForm } from './mixer.js';
import { rwkvOutput, rwkvSizes, rwkvTimeMix } from './rwkv5.js';

const rank = (what: string, fallback: number) =>
  z.number().int().min(1).default(fallback).describe(`Inner width of the maps to ${what}.`);

const rwkv6Options = z.strictObject({
  headDim: z.number().int().min(1).default(64).describe('Width of a head, at most dim; must divide dim.'),
  shiftRank: rank('the token shifts', 32),
  decayRank: rank('the decay', 64),
});

export type Rwkv6Options = z.output<typeof rwkv6Options>;

export const rwkv6Mixer = defineMixer({
  name: 'rwkv6',
  summary:
    'time mix of RWKV-6 (Finch): linear attention whose decays and token shifts depend on the input (arXiv 2404.05892)',
  options: rwkv6Options,
  feedForward: 'channelMix',
  create: createRwkv6,
});

const SHIFTED = ['key', 'value', 'receptance', 'gate', 'decay'] as const;
type Shifted = (typeof SHIFTED)[number];

/**
 * The five mixtures of this step and the one before: mu x_t + (1 - mu) x_{t-1} + (x_{t-1} - x_t) lora(x'), where x' is such
 * a mixture as well (section 4.2 of the paper). And the last input.
 */
function shifted(
  p: ParameterTensors,
  x: Tensor,
  { state, reset }: Pick<MixerContext, 'state' | 'reset'>,
): [of: (name: Shifted) => Tensor, last: Tensor] {
  const before = { state: state?.['shift'] ?? null, reset };
  const [past, last] = tokenShift(x, Tensor.full(x.device, [x.extent(-1)], 0), before); // x_{t-1}
  const change = subtract(past, x);
  const [inner] = tokenShift(x, p['shift']!, before);
  const of = (name: Shifted): Tensor => {
    const more = applyLinear(p, `${name}ShiftUp`, activate(applyLinear(p, `${name}ShiftDown`, inner), 'tanh'));
    return add(tokenShift(x, p[`${name}Shift`]!, before)[0], mul(change, more));
  };
  return [of, last];
}

/** @throws RangeError when the head width does not divide dim. */
function createRwkv6(options: Rwkv6Options, place: MixerPlace): Mixer {
  const D = place.dim;
  const sizes = rwkvSizes('rwkv6', options.headDim, D);
  const { NH, DK } = sizes;
  const parameters = rwkv6Parameters(options, place);

  const forward: SequenceForm = (p, x, context, stepOptions = {}) => {
    const { state, wantState, reset, key } = context;
    const [of, last] = shifted(p, x, context);
    const inner = activate(applyLinear(p, 'decayDown', of('decay')), 'tanh');
    const decay = linear(inner, p['decayUp.weight']!, p['decay']); // [B,T,D]
    const inputs = {
      q: applyLinear(p, 'receptance', of('receptance')), // [B,T,D]
      k: applyLinear(p, 'key', of('key')),
      v: applyLinear(p, 'value', of('value')),
      logDecay: scaled(activate(decay, 'exp'), -1),
      bonus: p['bonus']!.reshape([NH, DK]),
    };
    const form = { heads: NH, state: memoryState(state), reset, wantState, ...stepOptions };
    const [o, next] = linearAttention(inputs, form);
    const y = rwkvOutput(p, o, of('gate'), NH);
    return [dropout(y, place.dropout, key), next === null ? {} : { ...next, shift: last }];
  };

  return memoryMixer('rwkv6', sizes, parameters, forward, (B) => ({
    shift: { shape: [B, 1, D], batchAxis: 0, initial: 0 },
  }));
}

/** Maps of low rank start at zero in their first half and within +-0.01 in their second (RWKV-LM v6). */
function rwkv6Parameters(options: Rwkv6Options, place: MixerPlace): ParameterTable {
  const { dim: D } = place;
  const { shifts, parameters } = rwkvTimeMix(place);
  const lowRank = (name: string, R: number): ParameterTable => ({
    ...prefixed(`${name}Down`, linearParameters(D, R, constant(0), false)),
    ...prefixed(`${name}Up`, linearParameters(R, D, { kind: 'uniform', bound: 0.01 }, false)),
  });
  const all = { ...shifts, decay: shifts.key };
  return {
    shift: shifts.key,
    ...Object.assign(
      {},
      ...SHIFTED.map((name) => ({ [`${name}Shift`]: all[name], ...lowRank(`${name}Shift`, options.shiftRank) })),
    ),
    ...lowRank('decay', options.decayRank),
    ...parameters,
  };
}
