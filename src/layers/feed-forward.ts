/**
 * @file The feed-forward layer behind a mixer: gated, down(activation(gate(x)) * up(x)) (Shazeer 2020, arXiv 2002.05202),
 * or plain, down(activation(up(x))). It has no state; the channel mix of RWKV, which has one, is in `channel-mix.ts`.
 */
import { activate, gatedActivation, type ActivationName } from '../ops/elementwise.js';
import type { Tensor } from '../tensor/tensor.js';
import { applyLinear, linearParameters } from './linear.js';
import { prefixed, type Init, type ParameterTable, type ParameterTensors } from './parameter.js';

/** Inner width: factor * D rounded up to a multiple, 64 in NX-AI/xlstm. */
export const feedForwardWidth = (D: number, factor: number, multiple = 64): number => roundUp(factor * D, multiple);

/** The next multiple. */
export const roundUp = (width: number, multiple = 64): number => Math.ceil(width / multiple) * multiple;

export interface FeedForwardForm {
  readonly kind: 'gated' | 'plain';
  readonly bias: boolean;
  /** Initial values of the maps that read the residual stream, and of the one that writes to it. */
  readonly inputInit: Init;
  readonly outputInit: Init;
}

/** gate (where there is one) and up [F,D], down [D,F]. */
export function feedForwardParameters(D: number, F: number, form: FeedForwardForm): ParameterTable {
  const { kind, bias, inputInit, outputInit } = form;
  return {
    ...(kind === 'gated' ? prefixed('gate', linearParameters(D, F, inputInit, bias)) : {}),
    ...prefixed('up', linearParameters(D, F, inputInit, bias)),
    ...prefixed('down', linearParameters(F, D, outputInit, bias)),
  };
}

/** [...,D] -> [...,D]. */
export function applyFeedForward(
  p: ParameterTensors,
  x: Tensor,
  kind: FeedForwardForm['kind'],
  activation: ActivationName,
): Tensor {
  if (kind === 'plain') return applyLinear(p, 'down', activate(applyLinear(p, 'up', x), activation));
  const gate = applyLinear(p, 'gate', x); // [...,F]
  const up = applyLinear(p, 'up', x); // [...,F]
  return applyLinear(p, 'down', gatedActivation(gate, up, activation));
}
