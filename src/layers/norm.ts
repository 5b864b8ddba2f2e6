/** @file Layer norm as a part with parameters, whole or per head. */
import { layernorm } from '../ops/norms.js';
import type { Tensor } from '../tensor/tensor.js';
import { constant, type ParameterTable, type ParameterTensors } from './parameter.js';

/** weight [D], stored as its difference from 1 and starting at 0, as NX-AI/xlstm stores it. */
export const normParameters = (D: number): ParameterTable => ({
  weight: { shape: [D], init: constant(0), decay: false },
});

/** Applies the norm called `name` to each of `groups` parts of the last axis. */
export function applyNorm(p: ParameterTensors, name: string, x: Tensor, eps: number, groups = 1): Tensor {
  return layernorm(x, p[`${name}.weight`]!, null, { eps, groups, weightOffset: 1 });
}
