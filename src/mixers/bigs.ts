/**
 * @file BiGS (arXiv 2212.10544): a gated unit whose inputs are mixed over time by two diagonal state-space models, one from
 * each end, multiplied. One model serves all channels of a direction. It looks ahead; `direction: 'forward'` is a causal
 * variant of this library that leaves the second model out.
 */
import * as z from 'zod';
import { hippoLegs } from '../layers/hippo.js';
import { applyLinear, linearParameters } from '../layers/linear.js';
import {
  countParameters,
  prefixed,
  type Init,
  type LearningRateRule,
  type ParameterTable,
  type ParameterTensors,
} from '../layers/parameter.js';
import { applyDiagonalSsm, diagonalSsmParameters, type SsmContext } from '../layers/state-space.js';
import { dropout } from '../ops/dropout.js';
import { activate, mul } from '../ops/elementwise.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineMixer } from './definition.js';
import { stepBy, type Mixer, type MixerContext, type MixerPlace, type MixerState } from './mixer.js';

const bigsOptions = z.strictObject({
  direction: z
    .enum(['both', 'forward'])
    .default('both')
    .describe(
      'both: the published form, which is not causal. forward: only the model that reads from the left; causal.',
    ),
  factor: z.number().positive().default(3).describe('Width of the gate over dim.'),
  stateSize: z.number().int().min(2).multipleOf(2).default(64).describe('Complex modes N of each direction.'),
  init: z
    .enum(['legs', 'lin'])
    .default('legs')
    .describe('Where the modes start: the diagonal of HiPPO-LegS, or angles pi n; all with real part -1/2.'),
  stepRange: z
    .tuple([z.number().positive(), z.number().positive()])
    .default([0.01, 1])
    .describe('The initial step size of a direction lies between these, uniformly in its logarithm.'),
});

export type BigsOptions = z.output<typeof bigsOptions>;

export const bigsMixer = defineMixer({
  name: 'bigs',
  summary: 'gated unit over the product of two state-space models, one from each end (BiGS, arXiv 2212.10544)',
  options: bigsOptions,
  feedForward: 'none',
  create: createBigs,
});

/** Initial matrices (BiGS modeling_bigs.py). */
const DENSE: Init = { kind: 'normal', std: 0.02 };

/** All N eigenvalues of HiPPO of N states, or angles pi n. */
function angles(init: BigsOptions['init'], N: number): number[] {
  if (init === 'lin') return Array.from({ length: N }, (_, n) => Math.PI * n);
  const half = hippoLegs(N).eigenvalues.map(({ im }) => im);
  return [...half, ...half.map((x) => -x)];
}

/** Modes and step sizes learn at a tenth of the rate. */
const modeRate: LearningRateRule = (rate) => rate / 10;

function bigsParameters(options: BigsOptions, { dim: D, bias }: MixerPlace, M: number): ParameterTable {
  const { stateSize: N, stepRange, direction } = options;
  const imaginary = angles(options.init, N);
  const ssm = diagonalSsmParameters(
    { modes: N, channels: 1, stepRange },
    { realParameter: imaginary.map(() => -0.5), imaginary },
    modeRate,
  );
  const square = linearParameters(D, D, DENSE, bias);
  const towards = (name: string): ParameterTable => ({
    ...prefixed(`${name}.in`, square),
    ...prefixed(`${name}.ssm`, ssm),
    ...prefixed(`${name}.out`, square),
  });
  return {
    ...prefixed('value', linearParameters(D, M, DENSE, bias)),
    ...towards('forward'),
    ...(direction === 'both' ? towards('backward') : {}),
    ...prefixed('gate', linearParameters(D, M, DENSE, bias)),
    ...prefixed('out', linearParameters(M, D, DENSE, bias)),
  };
}

/** @throws RangeError when the width of the gate is no whole number. */
function createBigs(options: BigsOptions, place: MixerPlace): Mixer {
  const { stateSize: N, direction } = options;
  const D = place.dim;
  const M = options.factor * D;
  if (!Number.isInteger(M)) throw new RangeError(`bigs: factor * dim must be a whole number, got ${M}`);
  const parameters = bigsParameters(options, place, M);
  const both = direction === 'both';

  /** U S(gelu(W x)) of one direction. */
  const oneWay = (p: ParameterTensors, name: string, x: Tensor, context: SsmContext): [Tensor, Tensor | null] => {
    const u = activate(applyLinear(p, `${name}.in`, x), 'gelu'); // [B,T,D]
    const ssm = { copies: D, realPart: 'clamped', reversed: name === 'backward' } as const;
    const [s, last] = applyDiagonalSsm(p, `${name}.ssm`, u, context, ssm);
    return [applyLinear(p, `${name}.out`, s), last];
  };

  const forward = (p: ParameterTensors, x: Tensor, context: MixerContext): [Tensor, MixerState] => {
    const { wantState, reset, key } = context;
    const carried = { state: context.state?.['ssm'] ?? null, wantState: wantState && !both, reset };
    const v = activate(applyLinear(p, 'value', x), 'gelu'); // [B,T,M]
    const [ahead, last] = oneWay(p, 'forward', x, carried);
    const c = both ? mul(ahead, oneWay(p, 'backward', x, { ...carried, state: null })[0]) : ahead; // [B,T,D]
    const gated = mul(activate(applyLinear(p, 'gate', c), 'gelu'), v);
    const y = dropout(applyLinear(p, 'out', gated), place.dropout, key);
    return [y, last === null ? {} : { ssm: last }];
  };

  return {
    kind: 'bigs',
    causal: !both,
    ...(both ? { causalVariant: "set bigs.direction to 'forward'" } : {}),
    parameters,
    stateSpecs: (B) => (both ? {} : { ssm: { shape: [B, 2, N, D], batchAxis: 0, initial: 0 } }),
    forward,
    step(p, x, state) {
      if (both) throw new Error("bigs: direction 'both' has no step form; it needs what comes later");
      return stepBy(forward)(p, x, state);
    },
    flopsPerToken: () => 2 * countParameters(parameters) + (both ? 2 : 1) * 12 * N * D,
  };
}
