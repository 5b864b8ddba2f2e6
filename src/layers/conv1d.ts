/** @file Causal depthwise convolution with SiLU as a part with parameters. */
import { conv1d } from '../ops/conv1d.js';
import type { Reset } from '../ops/reset.js';
import type { Tensor } from '../tensor/tensor.js';
import type { ParameterTable, ParameterTensors } from './parameter.js';

/** weight [D,K] and, unless it has none, bias [D], uniform in +-1/sqrt(K) as torch.nn.Conv1d starts a depthwise kernel. */
export function convParameters(D: number, K: number, bias = true): ParameterTable {
  const init = { kind: 'uniform', bound: 1 / Math.sqrt(K) } as const;
  return {
    weight: { shape: [D, K], init, decay: true },
    ...(bias ? { bias: { shape: [D], init, decay: false } } : {}),
  };
}

/** SiLU(conv(x)) with the layer called `name`: y [B,T,D] and the state after the last step [B,K-1,D]. */
export function applyConv(
  p: ParameterTensors,
  name: string,
  x: Tensor,
  state: Tensor | null,
  reset: Reset,
): [Tensor, Tensor] {
  return conv1d(x, p[`${name}.weight`]!, p[`${name}.bias`] ?? null, { activation: 'silu', state, reset });
}
