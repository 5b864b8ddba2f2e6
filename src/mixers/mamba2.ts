/**
 * @file The mixer of Mamba-2 (Dao & Gu 2024, arXiv 2405.21060 section 7): heads with one decay each that depends on the
 * input, keys and queries shared by groups of heads, short convolutions, a gate inside the norm. No feed-forward layer.
 */
import * as z from 'zod';
import { applyConv, convParameters } from '../layers/conv1d.js';
import { applyLinear, linearParameters } from '../layers/linear.js';
import { applyNorm, normParameters, NORMS } from '../layers/norm.js';
import { constant, prefixed, type ParameterTable, type ParameterTensors } from '../layers/parameter.js';
import { softplusStepInit } from '../layers/state-space.js';
import { dropout } from '../ops/dropout.js';
import { activate, mul, scaled, skipGate } from '../ops/elementwise.js';
import { headwiseLinear, linear } from '../ops/linear.js';
import { linearAttention } from '../ops/linear-attention.js';
import { Tensor } from '../tensor/tensor.js';
import { defineMixer } from './definition.js';
import { memoryMixer, memorySizes, memoryState, type MemorySizes } from './linear-memory.js';
import { type Mixer, type MixerPlace, type SequenceForm } from './mixer.js';
import { stepRange } from './options.js';

const count = () => z.number().int().min(1);

const mamba2Options = z.strictObject({
  expand: z.number().positive().default(2).describe('Inner width over dim.'),
  headWidth: count()
    .default(64)
    .describe('Width of a head; must divide the inner width, and is it where that is smaller.'),
  stateSize: count().default(128).describe('States N of each inner channel: the width of B and C.'),
  groups: count().default(1).describe('Groups of heads with a B and C of their own; must divide the heads.'),
  convKernel: count().max(64).default(4).describe('Taps of the causal convolutions.'),
  stepRange: stepRange('heads'),
});

export type Mamba2Options = z.output<typeof mamba2Options>;

export const mamba2Mixer = defineMixer({
  name: 'mamba2',
  summary:
    'state space duality of Mamba-2: a memory per head with one decay that depends on the input (arXiv 2405.21060)',
  options: mamba2Options,
  feedForward: 'none',
  create: createMamba2,
});

/** Sizes of a memory [N, headWidth] per head, of which `groups` share their keys and queries. */
interface Mamba2Sizes extends MemorySizes {
  readonly NG: number;
  /** Inner width. */
  readonly I: number;
}

/** @throws RangeError when the widths do not fit each other. */
function mamba2Sizes({ expand, headWidth, stateSize, groups }: Mamba2Options, D: number): Mamba2Sizes {
  const I = expand * D;
  const NH = I / Math.min(headWidth, I);
  if (!Number.isInteger(I) || !Number.isInteger(NH) || NH % groups !== 0) {
    throw new RangeError(
      `mamba2: headWidth must divide expand * dim, and groups the heads; got ${headWidth}, ${I} and ${groups} groups`,
    );
  }
  return { ...memorySizes('mamba2', NH, NH * stateSize, I), NG: groups, I };
}

/** @throws RangeError when the widths do not fit each other. */
function createMamba2(options: Mamba2Options, place: MixerPlace): Mixer {
  const sizes = mamba2Sizes(options, place.dim);
  const { NH, NG, DK, DV, I } = sizes;
  const { convKernel: K } = options;
  const parameters = mamba2Parameters(options, sizes, place);

  const forward: SequenceForm = (p, input, { state, wantState, reset, key }, stepOptions = {}) => {
    const conv = (name: string) =>
      applyConv(p, `${name}Conv`, applyLinear(p, name, input), state?.[name] ?? null, reset);
    const [x, lastX] = conv('x'); // [B,T,I]
    const [B, lastB] = conv('B'); // [B,T,NG*N]
    const [C, lastC] = conv('C');
    const step = activate(linear(input, p['step.weight']!, p['step.bias']), 'softplus'); // [B,T,NH]
    const inputs = { q: C, k: B, v: mul(x, overHeads(step, DV)), logDecay: decays(p['logRates']!, step) };
    const form = { heads: NH, groups: NG, state: memoryState(state), reset, wantState, ...stepOptions };
    const [o, next] = linearAttention(inputs, form);
    const skip = overHeads(p['skip']!.reshape([1, NH]), DV).reshape([I]);
    const gated = skipGate(o, x, skip, applyLinear(p, 'gate', input));
    const y = applyLinear(p, 'out', applyNorm(p, 'norm', gated, place.normEps, NORMS.rmsnorm));
    return [dropout(y, place.dropout, key), next === null ? {} : { ...next, x: lastX, B: lastB, C: lastC }];
  };

  const conv = (B: number, width: number) => ({ shape: [B, K - 1, width], batchAxis: 0, initial: 0 });
  return memoryMixer('mamba2', sizes, parameters, forward, (B) => ({
    x: conv(B, I),
    B: conv(B, NG * DK),
    C: conv(B, NG * DK),
  }));
}

/** [...,NH] -> [...,NH*width]: the number of a head for each of its channels. */
function overHeads(x: Tensor, width: number): Tensor {
  const NH = x.extent(-1);
  return headwiseLinear(x, Tensor.full(x.device, [NH, width, 1], 1));
}

/** -exp(logRates) times the step sizes [B,T,NH]: what a step keeps, as a logarithm. */
function decays(logRates: ParameterTensors[string], step: Tensor): Tensor {
  const rates = scaled(activate(logRates, 'exp'), -1);
  return headwiseLinear(step, rates.reshape([rates.size, 1, 1]));
}

/** Initial values of the published code: rates A uniform in (1, 16), step sizes as in Mamba, D = 1. */
function mamba2Parameters(options: Mamba2Options, { NH, NG, DK, I }: Mamba2Sizes, place: MixerPlace): ParameterTable {
  const { dim: D, bias, inputInit, outputInit } = place;
  const { convKernel: K } = options;
  const keys = linearParameters(D, NG * DK, inputInit, bias);
  return {
    ...prefixed('gate', linearParameters(D, I, inputInit, bias)),
    ...prefixed('x', linearParameters(D, I, inputInit, bias)),
    ...prefixed('B', keys),
    ...prefixed('C', keys),
    ...prefixed('step', linearParameters(D, NH, inputInit, false)),
    'step.bias': { shape: [NH], init: softplusStepInit(options.stepRange), decay: false },
    ...prefixed('xConv', convParameters(I, K)),
    ...prefixed('BConv', convParameters(NG * DK, K)),
    ...prefixed('CConv', convParameters(NG * DK, K)),
    logRates: { shape: [NH], init: { kind: 'mapped', low: 1, high: 16, map: Math.log }, decay: false },
    skip: { shape: [NH], init: constant(1), decay: false },
    ...prefixed('norm', normParameters(I, NORMS.rmsnorm)),
    ...prefixed('out', linearParameters(I, D, outputInit, bias)),
  };
}
