/**
 * @file DeltaNet (Yang et al. 2024, arXiv 2406.06484): linear attention whose memory is corrected, not only added to.
 * Short convolutions on queries, keys and values, keys of length one, the delta rule, a norm per head. No decay and no
 * output gate: those are `gated-deltanet.ts`.
 */
import * as z from 'zod';
import { applyConv, convParameters } from '../layers/conv1d.js';
import { applyLinear, linearParameters } from '../layers/linear.js';
import { applyNorm, normParameters, NORMS } from '../layers/norm.js';
import { countParameters, prefixed, type ParameterTable, type ParameterTensors } from '../layers/parameter.js';
import { deltaRule } from '../ops/delta-rule.js';
import { dropout } from '../ops/dropout.js';
import { activate, gatedActivation } from '../ops/elementwise.js';
import { l2norm } from '../ops/l2norm.js';
import { Tensor } from '../tensor/tensor.js';
import { defineMixer } from './definition.js';
import {
  stepBy,
  type Mixer,
  type MixerContext,
  type MixerPlace,
  type MixerState,
  type SequenceForm,
  type StateSpec,
  type StepOptions,
} from './mixer.js';

const count = () => z.number().int().min(1);

/** Options of both delta rule mixers. */
export const deltaOptions = {
  heads: count().default(4).describe('Heads of the memory; must divide the widths of keys and values.'),
  convKernel: z
    .number()
    .int()
    .min(0)
    .max(64)
    .default(4)
    .describe('Taps of the causal convolutions on queries, keys and values; 0 for none.'),
  negativeEigenvalues: z
    .boolean()
    .default(false)
    .describe('Let beta go up to 2, so that a key can turn its memory around (arXiv 2411.12537).'),
  chunkSize: count().default(64).describe('Steps per chunk of the chunkwise form; a matter of speed, not of results.'),
};

const deltanetOptions = z.strictObject({
  ...deltaOptions,
  qkFactor: z.number().positive().default(1).describe('Width of all queries, and of all keys, over dim.'),
  vFactor: z.number().positive().default(1).describe('Width of all values over dim.'),
});

export const deltanetMixer = defineMixer({
  name: 'deltanet',
  summary: 'DeltaNet: linear attention by the delta rule (arXiv 2406.06484)',
  options: deltanetOptions,
  feedForward: 'layer',
  create: createDeltanet,
});

/** Sizes of a delta rule mixer. */
export interface DeltaSizes {
  readonly NH: number;
  readonly DK: number;
  readonly DV: number;
  /** Taps of the convolutions. */
  readonly K: number;
  readonly chunkSize: number;
}

interface SizeOptions {
  readonly heads: number;
  readonly convKernel: number;
  readonly chunkSize: number;
  readonly qkFactor: number;
  readonly vFactor: number;
}

/** @throws RangeError when heads does not divide the widths of keys and values. */
export function deltaSizes(kind: string, options: SizeOptions, dim: number): DeltaSizes {
  const { heads: NH, convKernel: K, chunkSize } = options;
  const keys = Math.floor(options.qkFactor * dim);
  const values = Math.floor(options.vFactor * dim);
  if (keys < NH || keys % NH !== 0 || values < NH || values % NH !== 0) {
    throw new RangeError(
      `${kind}: heads must divide the widths of keys and values, got ${NH} heads of ${keys} and ${values} (dim ${dim})`,
    );
  }
  return { NH, DK: keys / NH, DV: values / NH, K, chunkSize };
}

const widths = ({ NH, DK, DV }: DeltaSizes) => ({ q: NH * DK, k: NH * DK, v: NH * DV });

/** Maps to queries, keys, values and beta with their convolutions, and the map back. */
export function deltaParameters(sizes: DeltaSizes, { dim: D, inputInit, outputInit }: MixerPlace): ParameterTable {
  const projections = Object.entries(widths(sizes)).map(([name, width]) => ({
    ...prefixed(name, linearParameters(D, width, inputInit, false)),
    ...(sizes.K === 0 ? {} : prefixed(`${name}Conv`, convParameters(width, sizes.K, false))),
  }));
  const values = sizes.NH * sizes.DV;
  return {
    ...Object.assign({}, ...projections),
    ...prefixed('beta', linearParameters(D, sizes.NH, inputInit, false)),
    ...prefixed('cellNorm', normParameters(values, NORMS.rmsnorm)),
    ...prefixed('out', linearParameters(values, D, outputInit, false)),
  };
}

export function deltaStateSpecs(sizes: DeltaSizes, B: number): Record<string, StateSpec> {
  const { NH, DK, DV, K } = sizes;
  const convs = Object.entries(widths(sizes)).map(([name, width]) => {
    const spec: StateSpec = { shape: [B, K - 1, width], batchAxis: 0, initial: 0 };
    return [`${name}Conv`, spec] as const;
  });
  const memory: StateSpec = { shape: [B, NH, DK, DV], batchAxis: 0, initial: 0 };
  return { memory, ...(K === 0 ? {} : Object.fromEntries(convs)) };
}

type Cell = Pick<MixerContext, 'state' | 'reset'> & StepOptions;

/**
 * The memory of both mixers: x [B,T,D] and the log decay g [B,T,NH] (null for none) to o [B,T,NH*DV], normed per head,
 * and the next state.
 */
export function deltaMemory(
  p: ParameterTensors,
  x: Tensor,
  g: Tensor | null,
  sizes: DeltaSizes,
  options: Cell & { readonly largestBeta: 1 | 2; readonly normEps: number },
): [Tensor, MixerState] {
  const { state, reset, inPlace = false, largestBeta, normEps } = options;
  const { NH, K, chunkSize } = sizes;
  const convs: Record<string, Tensor> = {};
  const project = (name: string): Tensor => {
    const y = applyLinear(p, name, x);
    if (K === 0) return activate(y, 'silu');
    const [mixed, last] = applyConv(p, `${name}Conv`, y, state?.[`${name}Conv`] ?? null, reset);
    convs[`${name}Conv`] = last;
    return mixed;
  };
  const [q, k] = [l2norm(project('q'), { groups: NH }), l2norm(project('k'), { groups: NH })];
  const v = project('v');
  const logit = applyLinear(p, 'beta', x); // [B,T,NH]
  const beta =
    largestBeta === 1
      ? activate(logit, 'sigmoid')
      : gatedActivation(logit, Tensor.full(x.device, logit.shape, largestBeta), 'sigmoid');
  const before = state?.['memory'] ?? null;
  const [o, memory] = deltaRule({ q, k, v, beta, g }, { state: before, reset, chunkSize, inPlace });
  return [applyNorm(p, 'cellNorm', o, normEps, NORMS.rmsnorm, NH), { memory, ...convs }];
}

/** Multiply-adds of the chunkwise form, counted as two, per token. */
export const deltaFlops = ({ NH, DK, DV, chunkSize }: DeltaSizes): number =>
  NH * (6 * DK * DV + 2 * chunkSize * (DK + DV));

function createDeltanet(options: z.output<typeof deltanetOptions>, place: MixerPlace): Mixer {
  const sizes = deltaSizes('deltanet', options, place.dim);
  const parameters = deltaParameters(sizes, place);
  const memoryOptions = { largestBeta: options.negativeEigenvalues ? 2 : 1, normEps: place.normEps } as const;
  const forward: SequenceForm = (p, x, { state, reset, key }, options = {}) => {
    const [o, next] = deltaMemory(p, x, null, sizes, { ...memoryOptions, ...options, state, reset });
    return [dropout(applyLinear(p, 'out', o), place.dropout, key), next];
  };
  return {
    kind: 'deltanet',
    causal: true,
    parameters,
    stateSpecs: (B) => deltaStateSpecs(sizes, B),
    forward,
    step: stepBy(forward),
    flopsPerToken: () => 2 * countParameters(parameters) + deltaFlops(sizes),
  };
}
