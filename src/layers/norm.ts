/** @file Norms as parts with parameters, whole or per head. */
import { layernorm, rmsnorm } from '../ops/norms.js';
import type { Tensor } from '../tensor/tensor.js';
import { constant, type ParameterTable, type ParameterTensors } from './parameter.js';

/** Which norm, and how its weight is stored. */
export interface NormForm {
  readonly kind: 'layernorm' | 'rmsnorm';
  /** Added to the stored weight: 1 where the weight is stored as its difference from 1. */
  readonly weightOffset: 0 | 1;
  /** Whether a bias is added. Default false. */
  readonly bias?: boolean;
}

/** The norms of a residual stream by their name in a configuration: the first two stored as NX-AI/xlstm stores them. */
export const NORMS = {
  layernorm: { kind: 'layernorm', weightOffset: 1 },
  rmsnorm: { kind: 'rmsnorm', weightOffset: 0 },
  layernormBias: { kind: 'layernorm', weightOffset: 0, bias: true },
} as const satisfies Record<string, NormForm>;

/** weight [D], so stored that the norm starts with a factor of 1, and with a bias that [D] starting at 0. */
export const normParameters = (D: number, form: NormForm = NORMS.layernorm): ParameterTable => ({
  weight: { shape: [D], init: constant(1 - form.weightOffset), decay: false },
  ...(form.bias === true ? { bias: { shape: [D], init: constant(0), decay: false } } : {}),
});

/** Applies the norm called `name` to each of `groups` parts of the last axis. */
export function applyNorm(
  p: ParameterTensors,
  name: string,
  x: Tensor,
  eps: number,
  { kind, weightOffset }: NormForm = NORMS.layernorm,
  groups = 1,
): Tensor {
  const weight = p[`${name}.weight`]!;
  const options = { eps, groups, weightOffset };
  return kind === 'rmsnorm' ? rmsnorm(x, weight, options) : layernorm(x, weight, p[`${name}.bias`] ?? null, options);
}
