/**
 * @file The time mix of RWKV-7 (Peng et al. 2025, arXiv 2503.14456): a matrix state per head from which what a key
 * holds is taken at a rate that each channel learns in context, with a decay of each key channel, values mixed with
 * those of the first block, and a bonus for the present token. The channel mix behind it belongs to the block.
 */
import * as z from 'zod';
import { applyLinear, linearParameters } from '../layers/linear.js';
import { applyNorm, NORMS } from '../layers/norm.js';
import {
  constant,
  countParameters,
  prefixed,
  type Init,
  type ParameterTable,
  type ParameterTensors,
} from '../layers/parameter.js';
import { conv1d } from '../ops/conv1d.js';
import { dplr } from '../ops/dplr.js';
import { dropout } from '../ops/dropout.js';
import { activate, add, gatedActivation, mul, scaled, subtract } from '../ops/elementwise.js';
import { l2norm } from '../ops/l2norm.js';
import { headwiseLinear } from '../ops/linear.js';
import { tokenShift } from '../ops/token-shift.js';
import { Tensor } from '../tensor/tensor.js';
import { defineMixer } from './definition.js';
import { stepBy, type Mixer, type MixerContext, type MixerPlace, type SequenceForm } from './mixer.js';

const rank = (what: string, factor: number) =>
  z
    .number()
    .int()
    .min(0)
    .default(0)
    .describe(`Inner width of the map to ${what}; 0 for ${factor} sqrt(dim) rounded to a multiple of 32.`);

/** Factors of the automatic ranks, from RWKV-LM. */
const RANK_FACTORS = { decay: 2.5, rate: 2.5, value: 1.7, gate: 5 } as const;

const rwkv7Options = z.strictObject({
  headDim: z.number().int().min(1).default(64).describe('Width of a head, at most dim; must divide dim.'),
  decayRank: rank('the decay', RANK_FACTORS.decay),
  rateRank: rank('the in-context rate', RANK_FACTORS.rate),
  valueRank: rank('the weight of the first values', RANK_FACTORS.value),
  gateRank: rank('the output gate', RANK_FACTORS.gate),
});

export type Rwkv7Options = z.output<typeof rwkv7Options>;

export const rwkv7Mixer = defineMixer({
  name: 'rwkv7',
  summary: 'time mix of RWKV-7: a generalised delta rule with a decay per channel (arXiv 2503.14456)',
  options: rwkv7Options,
  feedForward: 'plainChannelMix',
  create: createRwkv7,
});

/** Under this name the values of the first block are left for the others. */
const FIRST_VALUES = 'rwkv7.values';
/** The six mixtures of a step and the one before, with the power of (d / D)^(power * rest) that each starts as. */
const SHIFTS = { receptance: 0.2, decay: 0.9, key: 0.7, value: 0.7, rate: 0.9, gate: 0.2 } as const;
type Shift = keyof typeof SHIFTS;

/** Of the norm behind the state; 64 times that of a layer norm because outputs may be small. */
const NORM_EPS = 64e-5;
/** Of the length of a removal key: that of torch's normalize is as good as none. */
const LENGTH_EPS = 1e-12;
/** The decay lies between exp(-exp(-0.5)) = 0.545 and 1. */
const FASTEST = -Math.exp(-0.5);

/** x [...,D] times a factor per channel, plus an offset. */
const perChannel = (x: Tensor, factor: Tensor, offset: Tensor | null = null): Tensor =>
  conv1d(x, factor.reshape([factor.size, 1]), offset)[0];

/** up(activation(down(x))) + bias: a map of low rank. */
function lowRank(p: ParameterTensors, name: string, x: Tensor, inner: 'tanh' | 'sigmoid' | 'none'): Tensor {
  const down = applyLinear(p, `${name}Down`, x);
  return applyLinear(p, `${name}Up`, inner === 'none' ? down : activate(down, inner));
}

/** Values mixed with those of the first block; the first block leaves its own. */
function mixValues(p: ParameterTensors, v: Tensor, x: Tensor, shared: MixerContext['shared']): Tensor {
  const first = shared?.get(FIRST_VALUES);
  if (first === undefined) {
    shared?.set(FIRST_VALUES, v);
    return v;
  }
  // v + (first - v) sigmoid(...)
  return add(v, gatedActivation(lowRank(p, 'value', x, 'none'), subtract(first, v), 'sigmoid'));
}

/** (r . (bonus * k)) v of each head: what the present token gives itself. */
function presentToken(p: ParameterTensors, r: Tensor, k: Tensor, v: Tensor, heads: number): Tensor {
  const width = r.extent(-1) / heads;
  const weight = headwiseLinear(mul(r, k), p['bonus']!.reshape([heads, 1, width]), null); // [B,T,NH]
  return mul(headwiseLinear(weight, Tensor.full(r.device, [heads, width, 1], 1), null), v);
}

/** @throws RangeError when the head width does not divide dim. */
function createRwkv7(options: Rwkv7Options, place: MixerPlace): Mixer {
  const D = place.dim;
  const DH = Math.min(options.headDim, D);
  if (D % DH !== 0) throw new RangeError(`rwkv7: headDim must divide the width, got ${DH} of ${D}; set rwkv7.headDim`);
  const NH = D / DH;
  const parameters = rwkv7Parameters(options, place, DH);

  const forward: SequenceForm = (p, x, { state, reset, shared, key: dropKey }, { inPlace = false } = {}) => {
    const before = { state: state?.['shift'] ?? null, reset };
    const shift = (name: Shift) => tokenShift(x, p[`${name}Shift`]!, before);
    const [forReceptance, lastInput] = shift('receptance');
    const [[forKey], [forValue], [forRate]] = [shift('key'), shift('value'), shift('rate')];
    const r = applyLinear(p, 'receptance', forReceptance); // [B,T,D]
    const key = applyLinear(p, 'key', forKey);
    const v = mixValues(p, applyLinear(p, 'values', forValue), forValue, shared);
    const rate = activate(lowRank(p, 'rate', forRate, 'none'), 'sigmoid');
    const decay = activate(lowRank(p, 'decay', shift('decay')[0], 'tanh'), 'sigmoid');
    const removal = l2norm(perChannel(key, p['removalKey']!), { groups: NH, eps: LENGTH_EPS });
    // k (1 + (rate - 1) keyRate)
    const rest = subtract(Tensor.full(x.device, [D], 1), p['keyRate']!);
    const k = mul(key, perChannel(rate, p['keyRate']!, rest));
    const inputs = { q: r, k, v, a: mul(removal, rate), b: scaled(removal, -1), g: scaled(decay, FASTEST) };
    const [o, memory] = dplr(inputs, { heads: NH, state: state?.['memory'] ?? null, reset, inPlace });
    const normed = applyNorm(p, 'cellNorm', o, NORM_EPS, NORMS.layernormBias, NH);
    const gate = lowRank(p, 'gate', shift('gate')[0], 'sigmoid');
    const y = applyLinear(p, 'out', mul(add(normed, presentToken(p, r, k, v, NH)), gate));
    return [dropout(y, place.dropout, dropKey), { memory, shift: lastInput }];
  };

  return {
    kind: 'rwkv7',
    causal: true,
    parameters,
    stateSpecs: (B) => ({
      memory: { shape: [B, NH, DH, DH], batchAxis: 0, initial: 0 },
      shift: { shape: [B, 1, D], batchAxis: 0, initial: 0 },
    }),
    forward,
    step: stepBy(forward),
    flopsPerToken: () => 2 * countParameters(parameters) + 10 * D * DH,
  };
}

/**
 * Initial values of RWKV-LM (RWKV-v7/train_temp/src/model.py): maps of low rank begin as their bias alone, and the
 * output as zero. `rest` falls from 1 to nearly 0 over the blocks, `depth` rises from 0 to 1.
 */
function rwkv7Parameters(options: Rwkv7Options, { dim: D, block, blocks }: MixerPlace, DH: number): ParameterTable {
  const depth = blocks === 1 ? 0 : block / (blocks - 1);
  const rest = 1 - block / blocks;
  const channels = (f: (d: number) => number) => {
    const init: Init = { kind: 'values', values: Array.from({ length: D }, (_, d) => f(d)) };
    return { shape: [D], init, decay: false };
  };
  /** -0.5 to 0.5 over all channels, and -1 to 1 over those of each head, flat in the middle. */
  const ramp = (d: number): number => d / Math.max(D - 1, 1) - 0.5;
  const zigzag = (d: number): number => {
    const half = (DH - 1) / 2;
    const x = half === 0 ? 0 : ((d % DH) - half) / half;
    return x * Math.abs(x);
  };
  const matrix = (gain: number) => linearParameters(D, D, { kind: 'orthogonal', gain }, false);
  const lowRankOf = (name: keyof typeof RANK_FACTORS, bias: ((d: number) => number) | null): ParameterTable => {
    const width = options[`${name}Rank`] || Math.max(32, 32 * Math.round((RANK_FACTORS[name] * Math.sqrt(D)) / 32));
    const gain = 0.1 * Math.max(1, Math.sqrt(width / D));
    return {
      [`${name}Down.weight`]: { shape: [width, D], init: constant(0), decay: false, dense: true },
      [`${name}Up.weight`]: { shape: [D, width], init: { kind: 'orthogonal', gain }, decay: false, dense: true },
      ...(bias === null ? {} : { [`${name}Up.bias`]: channels(bias) }),
    };
  };
  const slowness = (d: number): number => -6 + 6 * (d / Math.max(D - 1, 1)) ** (1 + depth ** 0.3);
  const shifts = Object.entries(SHIFTS).map(([name, power]) => [
    `${name}Shift`,
    channels((d) => (d / D) ** (power * rest)),
  ]);
  return {
    ...(Object.fromEntries(shifts) as ParameterTable),
    ...prefixed('receptance', matrix(1)),
    ...prefixed('key', matrix(0.1)),
    ...prefixed('values', matrix(1)),
    ...lowRankOf('decay', (d) => slowness(d) + 0.5 + 2.5 * zigzag(d)),
    ...lowRankOf('rate', (d) => -0.19 + 0.3 * zigzag(d) + 0.4 * ramp(d)),
    ...(block === 0 ? {} : lowRankOf('value', (d) => 0.73 - 0.4 * ramp(d))),
    ...lowRankOf('gate', null),
    removalKey: channels((d) => 0.71 - 0.1 * ramp(d)),
    keyRate: channels(() => 1.02),
    bonus: { shape: [D / DH, DH], init: constant(-0.04), decay: false },
    'cellNorm.weight': channels(() => ((1 + block) / blocks) ** 0.7),
    'cellNorm.bias': channels(() => 0),
    ...prefixed('out', linearParameters(D, D, constant(0), false)),
  };
}
