/** @file Gated feed-forward layer: down(activation(gate(x)) * up(x)) (Shazeer 2020, arXiv 2002.05202). */
import { gatedActivation, type ActivationName } from '../ops/elementwise.js';
import type { Tensor } from '../tensor/tensor.js';
import { applyLinear, linearParameters } from './linear.js';
import { prefixed, smallInit, wangInit, type ParameterTable, type ParameterTensors } from './parameter.js';

/** Inner width: factor * D rounded up to a multiple, 64 in NX-AI/xlstm. */
export const feedForwardWidth = (D: number, factor: number, multiple = 64): number => roundUp(factor * D, multiple);

/** The next multiple. */
export const roundUp = (width: number, multiple = 64): number => Math.ceil(width / multiple) * multiple;

/** gate and up [F,D], down [D,F]. */
export function feedForwardParameters(D: number, F: number, blocks: number): ParameterTable {
  return {
    ...prefixed('gate', linearParameters(D, F, smallInit(D), false)),
    ...prefixed('up', linearParameters(D, F, smallInit(D), false)),
    ...prefixed('down', linearParameters(F, D, wangInit(D, blocks), false)),
  };
}

/** [...,D] -> [...,D]. */
export function applyFeedForward(p: ParameterTensors, x: Tensor, activation: ActivationName): Tensor {
  const gate = applyLinear(p, 'gate', x); // [...,F]
  const up = applyLinear(p, 'up', x); // [...,F]
  return applyLinear(p, 'down', gatedActivation(gate, up, activation));
}
