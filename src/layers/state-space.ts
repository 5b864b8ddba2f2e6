/**
 * @file A diagonal state-space model with a feed-through as a part with parameters: one model per channel, or one for all.
 * It is the sequence map alone; the maps over channels around it belong to the mixers.
 */
import { linear } from '../ops/linear.js';
import { longConv } from '../ops/long-conv.js';
import type { Reset } from '../ops/reset.js';
import {
  diagonalScan,
  ssmDiscretize,
  ssmKernel,
  type DiagonalModel,
  type SsmDiscretizeOptions,
} from '../ops/state-space.js';
import { Tensor } from '../tensor/tensor.js';
import {
  logUniform,
  type Init,
  type LearningRateRule,
  type ParameterTable,
  type ParameterTensors,
} from './parameter.js';

/** Where the modes of a model start: one value of A per mode, in every channel. */
export interface ModeStart {
  /** What the real part's parameter holds. */
  readonly realParameter: readonly number[];
  readonly imaginary: readonly number[];
}

export interface DiagonalSsmShape {
  /** Modes N. */
  readonly modes: number;
  /** Channels with a model of their own. */
  readonly channels: number;
  /** Initial step sizes lie between these, uniformly in their logarithm. */
  readonly stepRange: readonly [number, number];
}

/** Complex numbers of which real and imaginary part have variance 1/2, as torch.randn draws them. */
export const complexNormal: Init = { kind: 'normal', std: Math.SQRT1_2 };

/** Values [2,N,D] that are the same in every channel. */
export const inEveryChannel = (real: readonly number[], imaginary: readonly number[], channels: number): Init => ({
  kind: 'values',
  values: [...real, ...imaginary].flatMap((value) => Array<number>(channels).fill(value)),
});

/** Logarithms of step sizes [D]. */
export const logStepInit = ([low, high]: readonly [number, number]): Init => logUniform(low, high, Math.log);

/** No initial step size of Mamba is shorter. */
const STEP_FLOOR = 1e-4;

/** What softplus turns into step sizes, as Mamba starts them. */
export const softplusStepInit = ([low, high]: readonly [number, number]): Init =>
  logUniform(low, high, (step) => inverseSoftplus(Math.max(step, STEP_FLOOR)));

/** x with softplus(x) = y. */
const inverseSoftplus = (y: number): number => y + Math.log(-Math.expm1(-y));

/** Modes and step sizes learn at 1e-3 at most, as S4 (arXiv 2111.00396) and its descendants train them. */
export const modeRate: LearningRateRule = (rate) => Math.min(rate, 1e-3);

/** A [2,N,D], C [2,N,D], logStep [D] and skip [D]; none of them decays. */
export function diagonalSsmParameters(
  { modes: N, channels: D, stepRange }: DiagonalSsmShape,
  start: ModeStart,
  learningRate: LearningRateRule = modeRate,
): ParameterTable {
  return {
    A: { shape: [2, N, D], init: inEveryChannel(start.realParameter, start.imaginary, D), decay: false, learningRate },
    C: { shape: [2, N, D], init: complexNormal, decay: false },
    logStep: { shape: [D], init: logStepInit(stepRange), decay: false, learningRate },
    skip: { shape: [D], init: { kind: 'normal', std: 1 }, decay: false },
  };
}

/** The last axis repeated: channel k of the result is channel floor(k / copies) of x. [...,D] -> [...,D*copies]. */
export function repeatChannels(x: Tensor, copies: number): Tensor {
  if (copies === 1) return x;
  const repeated = linear(x.reshape([x.size, 1]), Tensor.full(x.device, [copies, 1], 1)); // [...D,copies]
  return repeated.reshape([...x.shape.slice(0, -1), copies * x.extent(-1)]);
}

export interface SsmContext {
  /** [B,2,N,D]; null to start afresh. */
  readonly state: Tensor | null;
  readonly wantState: boolean;
  readonly reset: Reset;
}

export interface DiagonalSsmOptions extends Omit<SsmDiscretizeOptions, 'softmaxLength'> {
  /** Channels of x that share one model; the parameters have so many times fewer channels. Default 1. */
  readonly copies?: number;
  /** Anti-causal: it runs from the end of each document. It has no state then. Default false. */
  readonly reversed?: boolean;
}

/**
 * The model of the parameters called `name`, applied to x [B,T,D]: y [B,T,D], and the state after the last step [B,2,N,D]
 * where one was given or is wanted (null otherwise: then a convolution does).
 */
export function applyDiagonalSsm(
  p: ParameterTensors,
  name: string,
  x: Tensor,
  { state, wantState, reset }: SsmContext,
  { copies = 1, reversed = false, ...options }: DiagonalSsmOptions = {},
): [Tensor, Tensor | null] {
  const skip = repeatChannels(p[`${name}.skip`]!, copies);
  const model = ssmDiscretize(p[`${name}.A`]!, p[`${name}.C`]!, p[`${name}.logStep`]!, options);
  const rest = { skip, reset };
  if (reversed || (state === null && !wantState)) {
    const kernel = ssmKernel(model, x.extent(1));
    return [longConv(x, repeatChannels(kernel, copies), { ...rest, reversed }), null];
  }
  const repeated: DiagonalModel = { c: repeatChannels(model.c, copies), z: repeatChannels(model.z, copies) };
  return diagonalScan(x, repeated, { ...rest, state });
}
