/**
 * @file Gated DeltaNet (Yang et al. 2024, arXiv 2412.06464): DeltaNet whose memory also decays, by a scalar per head
 * that depends on the input as in Mamba-2, with a SiLU output gate behind the per-head norm.
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
import { softplusStepInit } from '../layers/state-space.js';
import { dropout } from '../ops/dropout.js';
import { activate, gatedActivation, scaled } from '../ops/elementwise.js';
import { headwiseLinear, linear } from '../ops/linear.js';
import { Tensor } from '../tensor/tensor.js';
import { defineMixer } from './definition.js';
import {
  deltaFlops,
  deltaMemory,
  deltaOptions,
  deltaParameters,
  deltaSizes,
  deltaStateSpecs,
  type DeltaSizes,
} from './deltanet.js';
import { stepBy, type Mixer, type MixerPlace, type SequenceForm } from './mixer.js';

const gatedDeltanetOptions = z.strictObject({
  ...deltaOptions,
  qkFactor: z.number().positive().default(0.75).describe('Width of all queries, and of all keys, over dim.'),
  vFactor: z.number().positive().default(1.5).describe('Width of all values over dim.'),
});

export const gatedDeltanetMixer = defineMixer({
  name: 'gatedDeltanet',
  summary: 'Gated DeltaNet: the delta rule with a decay that depends on the input (arXiv 2412.06464)',
  options: gatedDeltanetOptions,
  feedForward: 'layer',
  create: createGatedDeltanet,
});

/**
 * Rates A uniform in (0, 16), stored as logarithms; steps dt log-uniform from 1e-3 to 1e-1, stored as what softplus
 * turns into them: as Mamba-2 and flash-linear-attention start them.
 */
const RATE: Init = { kind: 'mapped', low: 0, high: 16, map: (rate) => Math.log(Math.max(rate, 1e-4)) };
const STEP = softplusStepInit([1e-3, 1e-1]);

function gatedParameters(sizes: DeltaSizes, place: MixerPlace): ParameterTable {
  const { dim: D, inputInit } = place;
  const { NH, DV } = sizes;
  return {
    ...deltaParameters(sizes, place),
    ...prefixed('decay', linearParameters(D, NH, inputInit, false)),
    'decay.bias': { shape: [NH], init: STEP, decay: false },
    logRate: { shape: [NH], init: RATE, decay: false },
    ...prefixed('ogate', linearParameters(D, NH * DV, inputInit, false)),
  };
}

/** g = -exp(logRate) softplus(W x + bias), [B,T,NH]. */
function logDecay(p: ParameterTensors, x: Tensor, NH: number): Tensor {
  const step = activate(linear(x, p['decay.weight']!, p['decay.bias']), 'softplus');
  const rate = scaled(activate(p['logRate']!, 'exp'), -1);
  return headwiseLinear(step, rate.reshape([NH, 1, 1]), null);
}

/** @throws RangeError when heads does not divide the widths of keys and values. */
function createGatedDeltanet(options: z.output<typeof gatedDeltanetOptions>, place: MixerPlace): Mixer {
  const sizes = deltaSizes('gatedDeltanet', options, place.dim);
  const parameters = gatedParameters(sizes, place);
  const memoryOptions = { largestBeta: options.negativeEigenvalues ? 2 : 1, normEps: place.normEps } as const;

  const forward: SequenceForm = (p, x, { state, reset, key }, options = {}) => {
    const form = { ...memoryOptions, ...options, state, reset };
    const [o, next] = deltaMemory(p, x, logDecay(p, x, sizes.NH), sizes, form);
    const y = applyLinear(p, 'out', gatedActivation(applyLinear(p, 'ogate', x), o, 'silu'));
    return [dropout(y, place.dropout, key), next];
  };

  return {
    kind: 'gatedDeltanet',
    causal: true,
    parameters,
    stateSpecs: (B) => deltaStateSpecs(sizes, B),
    forward,
    step: stepBy(forward),
    flopsPerToken: () => 2 * countParameters(parameters) + deltaFlops(sizes),
  };
}
