/** @file Norms as parts with parameters, whole or per head. */
import { layernorm, rmsnorm } from '../ops/norms.js';
import type { Tensor } from '../tensor/tensor.js';
import { constant, type ParameterTable, type ParameterTensors } from './parameter.js';

/** Which norm, and how its weight is stored. */
export interface NormForm {
  readonly kind: 'layernorm' | 'rmsnorm';
  /** Added to the stored weight: 1 where the weight is stored as its difference from 1. */
  readonly weightOffset: 0 | 1;
}

/** The norms of a residual stream by their name in a configuration, stored as NX-AI/xlstm stores them. */
export const NORMS = {
  layernorm: { kind: 'layernorm', weightOffset: 1 },
  rmsnorm: { kind: 'rmsnorm', weightOffset: 0 },
} as const satisfies Record<string, NormForm>;

/** weight [D], so stored that the norm starts with a factor of 1. */
export const normParameters = (D: number, { weightOffset }: NormForm = NORMS.layernorm): ParameterTable => ({
  weight: { shape: [D], init: constant(1 - weightOffset), decay: false },
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
  return kind === 'rmsnorm' ? rmsnorm(x, weight, options) : layernorm(x, weight, null, options);
}
