/** @file Gated feed-forward layer: down(activation(gate(x)) * up(x)) (Shazeer 2020, arXiv 2002.05202). */
import { gatedActivation, type ActivationName } from '../ops/elementwise.js';
import type { Tensor } from '../tensor/tensor.js';
import { applyLinear, applyLinearHalf, linearParameters } from './linear.js';
import { prefixed, smallInit, wangInit, type ParameterTable, type ParameterTensors } from './parameter.js';

/** Inner width: factor * D rounded up to a multiple of 64, as NX-AI/xlstm rounds it. */
export const feedForwardWidth = (D: number, factor: number): number => roundUp64(factor * D);

/** The next multiple of 64. */
export const roundUp64 = (width: number): number => Math.ceil(width / 64) * 64;

/** up [2F,D] holds the gate rows first, then the up rows; down [D,F]. */
export function feedForwardParameters(D: number, F: number, blocks: number): ParameterTable {
  return {
    ...prefixed('up', linearParameters(D, 2 * F, smallInit(D), false)),
    ...prefixed('down', linearParameters(F, D, wangInit(D, blocks), false)),
  };
}

/** [...,D] -> [...,D]. */
export function applyFeedForward(p: ParameterTensors, x: Tensor, activation: ActivationName): Tensor {
  const gate = applyLinearHalf(p, 'up', x, 0); // [...,F]
  const up = applyLinearHalf(p, 'up', x, 1); // [...,F]
  return applyLinear(p, 'down', gatedActivation(gate, up, activation));
}
