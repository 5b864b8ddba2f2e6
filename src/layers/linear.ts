/** @file Linear layers as parts with parameters: dense and head-wise, with or without bias. */
import { headwiseLinear, linear, type LinearOptions } from '../ops/linear.js';
import type { Tensor } from '../tensor/tensor.js';
import { constant, type Init, type ParameterTable, type ParameterTensors } from './parameter.js';

/** weight [O,I], and bias [O] starting at zero. */
export function linearParameters(I: number, O: number, init: Init, bias: boolean): ParameterTable {
  return {
    weight: { shape: [O, I], init, decay: true, dense: true },
    ...(bias ? { bias: { shape: [O], init: constant(0), decay: false } } : {}),
  };
}

/** Applies the layer called `name`: [...,I] -> [...,O]. */
export function applyLinear(p: ParameterTensors, name: string, x: Tensor, options?: LinearOptions): Tensor {
  return linear(x, p[`${name}.weight`]!, p[`${name}.bias`] ?? null, options);
}

/** Applies one half of a layer [2O,I] whose output rows hold two maps: half 0 or 1, [...,I] -> [...,O]. */
export function applyLinearHalf(p: ParameterTensors, name: string, x: Tensor, half: 0 | 1): Tensor {
  const weight = p[`${name}.weight`]!;
  const bias = p[`${name}.bias`];
  const O = weight.extent(0) / 2;
  return linear(x, weight.rows(half * O, (half + 1) * O), bias?.rows(half * O, (half + 1) * O) ?? null);
}

/** weight [G,O,I] of a block-diagonal map, and bias [G*O] starting at zero. */
export function headwiseParameters(G: number, O: number, I: number, init: Init, bias: boolean): ParameterTable {
  return {
    weight: { shape: [G, O, I], init, decay: true },
    ...(bias ? { bias: { shape: [G * O], init: constant(0), decay: false } } : {}),
  };
}

/** Applies the block-diagonal layer called `name`: [...,G*I] -> [...,G*O]. */
export function applyHeadwise(p: ParameterTensors, name: string, x: Tensor): Tensor {
  return headwiseLinear(x, p[`${name}.weight`]!, p[`${name}.bias`] ?? null);
}
