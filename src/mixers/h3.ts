/**
 * @file H3 (arXiv 2212.14052): keys through a shift, multiplied with the values, through a diagonal state-space model, and
 * read by the queries. Both maps over time are linear; products between them make it recall.
 */
import * as z from 'zod';
import { applyLinear, linearParameters } from '../layers/linear.js';
import {
  countParameters,
  prefixed,
  type Init,
  type ParameterTable,
  type ParameterTensors,
} from '../layers/parameter.js';
import { applyDiagonalSsm, diagonalSsmParameters, repeatChannels } from '../layers/state-space.js';
import { conv1d } from '../ops/conv1d.js';
import { dropout } from '../ops/dropout.js';
import { add, mul } from '../ops/elementwise.js';
import { linear } from '../ops/linear.js';
import { Tensor } from '../tensor/tensor.js';
import { defineMixer } from './definition.js';
import { stepBy, type Mixer, type MixerContext, type MixerPlace, type MixerState } from './mixer.js';
import { stepRange } from './options.js';
import { halfDecay, modeAngles } from './s4d.js';

const h3Options = z.strictObject({
  headDim: z
    .number()
    .int()
    .min(1)
    .max(64)
    .default(1)
    .describe('Width of a head: keys and values of a head are multiplied each with each. Must divide dim.'),
  shiftSize: z
    .number()
    .int()
    .min(1)
    .max(64)
    .default(64)
    .describe('States of the shift: how many steps the keys see, each with a weight of its own.'),
  stateSize: z
    .number()
    .int()
    .min(2)
    .multipleOf(2)
    .default(64)
    .describe('Real states N of the diagonal model of a head, half as many complex modes.'),
  init: z.enum(['lin', 'inv', 'legs']).default('lin').describe('Where its modes start, as in s4d.init.'),
  stepRange: stepRange('heads'),
});

export type H3Options = z.output<typeof h3Options>;

export const h3Mixer = defineMixer({
  name: 'h3',
  summary: 'products of queries, shifted keys and values through state-space models (H3, arXiv 2212.14052)',
  options: h3Options,
  feedForward: 'layer',
  create: createH3,
});

function h3Parameters(options: H3Options, place: MixerPlace): ParameterTable {
  const { headDim, shiftSize: K, stateSize: N, stepRange } = options;
  const { dim: D, inputInit, outputInit } = place;
  const ssm = diagonalSsmParameters(
    { modes: N / 2, channels: D / headDim, stepRange },
    halfDecay(modeAngles(options.init, N)),
  );
  const input = linearParameters(D, D, inputInit, true);
  // As torch starts a linear map of K inputs.
  const shift: Init = { kind: 'uniform', bound: 1 / Math.sqrt(K) };
  return {
    ...prefixed('q', input),
    ...prefixed('k', input),
    ...prefixed('v', input),
    'shift.weight': { shape: [D, K], init: shift, decay: false },
    'shift.skip': { shape: [D], init: { kind: 'normal', std: 1 }, decay: false },
    ...prefixed('ssm', ssm),
    ...prefixed('out', linearParameters(D, D, outputInit, true)),
  };
}

/** @throws RangeError when headDim does not divide the width. */
function createH3(options: H3Options, place: MixerPlace): Mixer {
  const { headDim, shiftSize: K, stateSize: N } = options;
  const D = place.dim;
  if (D % headDim !== 0) throw new RangeError(`h3: headDim must divide the width, got ${headDim} and ${D}`);
  const parameters = h3Parameters(options, place);

  /** The shift with its feed-through: [B,T,D], and its state. */
  const shifted = (p: ParameterTensors, k: Tensor, { state, reset }: MixerContext): [Tensor, Tensor] => {
    const [seen, last] = conv1d(k, p['shift.weight']!, null, { state: state?.['shift'] ?? null, reset });
    const [own] = conv1d(k, p['shift.skip']!.reshape([D, 1]), null);
    return [add(seen, own), last];
  };

  const forward = (p: ParameterTensors, x: Tensor, context: MixerContext): [Tensor, MixerState] => {
    const [keys, shift] = shifted(p, applyLinear(p, 'k', x), context);
    // [B,T,heads*headDim*headDim]: key i times value j of a head
    const product = mul(repeatChannels(keys, headDim), tileHeads(applyLinear(p, 'v', x), headDim));
    const carried = { state: context.state?.['ssm'] ?? null, wantState: context.wantState, reset: context.reset };
    const [s, ssm] = applyDiagonalSsm(p, 'ssm', product, carried, { scale: 2, copies: headDim * headDim });
    const read = sumHeads(mul(repeatChannels(applyLinear(p, 'q', x), headDim), s), headDim); // [B,T,D]
    const y = dropout(applyLinear(p, 'out', read), place.dropout, context.key);
    return [y, { shift, ...(ssm === null ? {} : { ssm }) }];
  };

  return {
    kind: 'h3',
    causal: true,
    parameters,
    stateSpecs: (B) => ({
      shift: { shape: [B, K - 1, D], batchAxis: 0, initial: 0 },
      ssm: { shape: [B, 2, N / 2, D * headDim], batchAxis: 0, initial: 0 },
    }),
    forward,
    step: stepBy(forward),
    flopsPerToken: () => 2 * (countParameters(parameters) + 3 * N * D * headDim),
  };
}

/** The matrix [width*width,width] of zeros and ones with (i,j) -> j. */
function secondOfPair(like: Tensor, width: number, transposed: boolean): Tensor {
  const ones = new Float64Array(width ** 3);
  for (let pair = 0; pair < width * width; pair++) {
    ones[transposed ? (pair % width) * width * width + pair : pair * width + (pair % width)] = 1;
  }
  return Tensor.from(like.device, ones, transposed ? [width, width * width] : [width * width, width]);
}

/** Element (h,i,j) of the result is element (h,j) of x: [B,T,D] -> [B,T,D*width]. */
function tileHeads(x: Tensor, width: number): Tensor {
  if (width === 1) return x;
  const heads = x.reshape([x.size / width, width]);
  return linear(heads, secondOfPair(x, width, false)).reshape([...x.shape.slice(0, -1), x.extent(-1) * width]);
}

/** Element (h,j) of the result is the sum over i of elements (h,i,j) of x: [B,T,D*width] -> [B,T,D]. */
function sumHeads(x: Tensor, width: number): Tensor {
  if (width === 1) return x;
  const heads = x.reshape([x.size / (width * width), width * width]);
  return linear(heads, secondOfPair(x, width, true)).reshape([...x.shape.slice(0, -1), x.extent(-1) / width]);
}
