/**
 * @file Hyena of order 2 (arXiv 2302.10866): a long convolution between two gates. Its filter is what a small network with
 * sine activations makes of the position, under an exponential window; so it has no recurrence, and its state is the last
 * inputs of the convolution.
 */
import * as z from 'zod';
import { historyConv } from '../layers/history-conv.js';
import { applyLinear, linearParameters } from '../layers/linear.js';
import {
  constant,
  countParameters,
  prefixed,
  type Init,
  type ParameterTable,
  type ParameterTensors,
} from '../layers/parameter.js';
import { modeRate } from '../layers/state-space.js';
import { conv1d } from '../ops/conv1d.js';
import { dropout } from '../ops/dropout.js';
import { activate, mul } from '../ops/elementwise.js';
import { linear } from '../ops/linear.js';
import { Tensor } from '../tensor/tensor.js';
import { defineMixer } from './definition.js';
import { stepBy, type Mixer, type MixerContext, type MixerPlace, type MixerState } from './mixer.js';

const hyenaOptions = z.strictObject({
  maxLength: z
    .number()
    .int()
    .min(2)
    .default(2048)
    .describe('Taps of the filter: how far it looks back. Positions are fractions of it, so a trained model keeps it.'),
  convKernel: z.number().int().min(1).max(64).default(3).describe('Taps of the short convolution before the gates.'),
  embedding: z
    .number()
    .int()
    .min(3)
    .default(3)
    .refine((width) => width % 2 === 1, 'must be odd: the position, and pairs of cosine and sine')
    .describe('Features of a position: itself, and cosines and sines.'),
  width: z.number().int().min(1).default(64).describe('Width of the network that makes the filter.'),
  innerLayers: z.number().int().min(0).default(2).describe('Its layers between the first and the last.'),
});

export type HyenaOptions = z.output<typeof hyenaOptions>;

export const hyenaMixer = defineMixer({
  name: 'hyena',
  summary: 'gated long convolution with a filter made by a network of the position (Hyena, arXiv 2302.10866)',
  options: hyenaOptions,
  feedForward: 'layer',
  create: createHyena,
});

const BRANCHES = ['first', 'second', 'value'] as const;

/** As torch.nn.Linear starts. */
const dense = (I: number): Init => ({ kind: 'uniform', bound: 1 / Math.sqrt(I) });

/** A linear map of the filter network: none of it decays. */
function filterLayer(I: number, O: number, bias: boolean): ParameterTable {
  const spec = (shape: readonly number[]) => ({ shape, init: dense(I), decay: false, learningRate: modeRate });
  return { weight: spec([O, I]), ...(bias ? { bias: spec([O]) } : {}) };
}

function hyenaParameters(options: HyenaOptions, { dim: D, inputInit, outputInit }: MixerPlace): ParameterTable {
  const { convKernel: K, embedding, width, innerLayers } = options;
  const short: Init = { kind: 'uniform', bound: 1 / Math.sqrt(K) };
  const branch = (name: string): ParameterTable => ({
    ...prefixed(`${name}.in`, linearParameters(D, D, inputInit, true)),
    [`${name}.conv.weight`]: { shape: [D, K], init: short, decay: true },
    [`${name}.conv.bias`]: { shape: [D], init: short, decay: false },
  });
  return {
    ...Object.assign({}, ...BRANCHES.map(branch)),
    ...prefixed('filter.0', filterLayer(embedding, width, true)),
    ...Object.assign(
      {},
      ...layers(1, innerLayers).map((k) => prefixed(`filter.${k}`, filterLayer(width, width, true))),
    ),
    ...prefixed('filter.last', filterLayer(width, D, false)),
    'filter.frequency': { shape: [width], init: constant(1), decay: false, learningRate: modeRate },
    'filter.skip': { shape: [D], init: { kind: 'normal', std: 1 }, decay: false },
    ...prefixed('out', linearParameters(D, D, outputInit, true)),
  };
}

/** from, from + 1, ... of that count. */
const layers = (from: number, count: number): number[] => Array.from({ length: count }, (_, k) => from + k);

/** Features of the first K of L positions [K,width]: l / (L-1), then cos and -sin of frequencies times 2 pi l / L. */
function positionFeatures(K: number, L: number, width: number): Float64Array {
  const bands = (width - 1) / 2;
  const features = new Float64Array(K * width);
  for (let l = 0; l < K; l++) {
    features[l * width] = l / (L - 1);
    for (let k = 0; k < bands; k++) {
      // From 1e-4 to bands - 1 in equal steps, as the published code has it: of one band, 1e-4.
      const frequency = bands === 1 ? 1e-4 : 1e-4 + ((bands - 1 - 1e-4) * k) / (bands - 1);
      const angle = (frequency * 2 * Math.PI * l) / L;
      features[l * width + 1 + k] = Math.cos(angle);
      features[l * width + 1 + bands + k] = -Math.sin(angle);
    }
  }
  return features;
}

/** Rates of the window e^(-t |delta|), t from 0 to 1: it falls to 1 % within 0.3 to 1.5 of the filter's length. */
function windowRates(D: number): Float64Array {
  const [slow, fast] = [Math.log(100) / 1.5, Math.log(100) / 0.3];
  return Float64Array.from({ length: D }, (_, d) => (D === 1 ? slow : slow + ((fast - slow) * d) / (D - 1)));
}

function createHyena(options: HyenaOptions, place: MixerPlace): Mixer {
  const { maxLength: L, convKernel: K, embedding, width, innerLayers } = options;
  const D = place.dim;
  const parameters = hyenaParameters(options, place);

  /** The first `taps` taps of the filter, [taps,D]. */
  const filter = (p: ParameterTensors, taps: number): Tensor => {
    const { device } = p['filter.skip']!;
    const features = Tensor.from(device, positionFeatures(taps, L, embedding), [taps, embedding]);
    const frequency = repeatRows(p['filter.frequency']!, taps); // [taps,width]
    let h = activate(mul(applyLinear(p, 'filter.0', features), frequency), 'sine');
    for (const k of layers(1, innerLayers)) h = activate(mul(applyLinear(p, `filter.${k}`, h), frequency), 'sine');
    const times = Tensor.from(
      device,
      Float64Array.from({ length: taps }, (_, l) => -l / (L - 1)),
      [taps, 1],
    );
    const window = activate(linear(times, Tensor.from(device, windowRates(D), [D, 1])), 'exp'); // [taps,D]
    return mul(applyLinear(p, 'filter.last', h), window);
  };

  const forward = (p: ParameterTensors, x: Tensor, context: MixerContext): [Tensor, MixerState] => {
    const { state, wantState, reset, key } = context;
    const next: Record<string, Tensor> = {};
    const branch = (name: (typeof BRANCHES)[number]): Tensor => {
      const [weight, bias] = [p[`${name}.conv.weight`]!, p[`${name}.conv.bias`]!];
      const [y, last] = conv1d(applyLinear(p, `${name}.in`, x), weight, bias, { state: state?.[name] ?? null, reset });
      next[name] = last;
      return y;
    };
    const v = mul(branch('value'), branch('first')); // [B,T,D]
    // Without a state no step sees more taps than the sequence has.
    const taps = state === null && !wantState ? Math.min(x.extent(1), L) : L;
    const carried = { state: state?.['history'] ?? null, wantState, reset };
    const [mixed, history] = historyConv(v, filter(p, taps), p['filter.skip']!, carried);
    if (history !== null) next['history'] = history;
    const y = applyLinear(p, 'out', mul(mixed, branch('second')));
    return [dropout(y, place.dropout, key), next];
  };

  const short = (B: number) => ({ shape: [B, K - 1, D], batchAxis: 0, initial: 0 });
  return {
    kind: 'hyena',
    causal: true,
    parameters,
    stateSpecs: (B) => ({
      first: short(B),
      second: short(B),
      value: short(B),
      history: { shape: [B, L - 1, D], batchAxis: 0, initial: 0 },
    }),
    forward,
    step: stepBy(forward),
    // The filter once per sequence, its transforms per token: about 10 operations per channel and doubling.
    flopsPerToken: (T) => 2 * countParameters(parameters) + 20 * D * Math.ceil(Math.log2(2 * T)) + 2 * width * D,
  };
}

/** x [N] in each of `rows` rows. */
const repeatRows = (x: Tensor, rows: number): Tensor =>
  linear(Tensor.full(x.device, [rows, 1], 1), x.reshape([x.size, 1]));
