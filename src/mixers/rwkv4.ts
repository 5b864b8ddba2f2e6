/**
 * @file The time mix of RWKV-4 (arXiv 2305.13048 eq. 11-15): a decaying average of values weighted by their keys, read
 * through a gate, with inputs mixed from this step and the one before. The channel mix behind it belongs to the block.
 */
import * as z from 'zod';
import { applyLinear, linearParameters } from '../layers/linear.js';
import {
  constant,
  countParameters,
  prefixed,
  type Init,
  type ParameterTable,
  type ParameterTensors,
} from '../layers/parameter.js';
import { dropout } from '../ops/dropout.js';
import { activate, gatedActivation } from '../ops/elementwise.js';
import { tokenShift } from '../ops/token-shift.js';
import { wkv } from '../ops/wkv.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineMixer } from './definition.js';
import { stepBy, type Mixer, type MixerContext, type MixerPlace, type MixerState } from './mixer.js';

const rwkv4Options = z.strictObject({
  width: z.number().int().min(0).default(0).describe('Width of keys and values; 0 for dim.'),
});

export type Rwkv4Options = z.output<typeof rwkv4Options>;

export const rwkv4Mixer = defineMixer({
  name: 'rwkv4',
  summary: 'time mix of RWKV-4: an average over the past with a decay per channel (arXiv 2305.13048)',
  options: rwkv4Options,
  feedForward: 'channelMix',
  create: createRwkv4,
});

function createRwkv4(options: Rwkv4Options, place: MixerPlace): Mixer {
  const D = place.dim;
  const I = options.width === 0 ? D : options.width;
  const parameters = rwkv4Parameters(place, I);

  const forward = (p: ParameterTensors, x: Tensor, { state, reset, key }: MixerContext): [Tensor, MixerState] => {
    const before = { state: state?.['shift'] ?? null, reset };
    const [forKey, shift] = tokenShift(x, p['keyShift']!, before); // [B,T,D]
    const [forValue] = tokenShift(x, p['valueShift']!, before);
    const [forReceptance] = tokenShift(x, p['receptanceShift']!, before);
    const inputs = {
      k: applyLinear(p, 'key', forKey), // [B,T,I]
      v: applyLinear(p, 'value', forValue),
      w: activate(p['decay']!, 'exp'),
      u: p['first']!,
    };
    const [average, last] = wkv(inputs, { state: state?.['wkv'] ?? null, reset });
    const gated = gatedActivation(applyLinear(p, 'receptance', forReceptance), average, 'sigmoid');
    return [dropout(applyLinear(p, 'out', gated), place.dropout, key), { shift, wkv: last }];
  };

  return {
    kind: 'rwkv4',
    causal: true,
    parameters,
    stateSpecs: (B) => ({
      shift: { shape: [B, 1, D], batchAxis: 0, initial: 0 },
      // numerator, denominator, running maximum
      wkv: { shape: [3, B, I], batchAxis: 1, initial: [0, 0, -Infinity] },
    }),
    forward,
    step: stepBy(forward),
    flopsPerToken: () => 2 * countParameters(parameters) + 20 * I,
  };
}

/** Initial values of RWKV-LM (v4neo/src/model.py): every matrix but that of the values starts at zero. */
function rwkv4Parameters({ dim: D, block, blocks }: MixerPlace, I: number): ParameterTable {
  const depth = blocks === 1 ? 0 : block / (blocks - 1); // 0 to 1
  const rest = 1 - block / blocks; // 1 to nearly 0
  const perChannel = (width: number, f: (channel: number) => number): Init => ({
    kind: 'values',
    values: Array.from({ length: width }, (_, channel) => f(channel)),
  });
  const vector = (init: Init, width: number) => ({ shape: [width], init, decay: false });
  const decay = (d: number): number => -5 + 8 * (d / Math.max(I - 1, 1)) ** (0.7 + 1.3 * depth);
  // A pattern of period three around log 0.3.
  const first = (d: number): number => Math.log(0.3) + 0.5 * (((d + 1) % 3) - 1);
  return {
    keyShift: vector(
      perChannel(D, (d) => (d / D) ** rest),
      D,
    ),
    valueShift: vector(
      perChannel(D, (d) => (d / D) ** rest + 0.3 * depth),
      D,
    ),
    receptanceShift: vector(
      perChannel(D, (d) => (d / D) ** (rest / 2)),
      D,
    ),
    decay: vector(perChannel(I, decay), I),
    first: vector(perChannel(I, first), I),
    ...prefixed('key', linearParameters(D, I, constant(0), false)),
    ...prefixed('value', linearParameters(D, I, { kind: 'orthogonal', gain: 1, tall: true }, false)),
    ...prefixed('receptance', linearParameters(D, I, constant(0), false)),
    ...prefixed('out', linearParameters(I, D, constant(0), false)),
  };
}
