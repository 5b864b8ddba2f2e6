/**
 * @file The channel mix of RWKV, which stands where other architectures have a feed-forward layer: a plain layer with relu
 * squared behind a token shift; in RWKV-4 to 6 under a sigmoid gate (arXiv 2305.13048 eq. 16-18), in RWKV-7 without
 * (arXiv 2503.14456).
 */
import { activate, gatedActivation } from '../ops/elementwise.js';
import type { Reset } from '../ops/reset.js';
import { tokenShift } from '../ops/token-shift.js';
import type { Tensor } from '../tensor/tensor.js';
import { applyLinear, linearParameters } from './linear.js';
import { constant, prefixed, type Init, type ParameterTable, type ParameterTensors } from './parameter.js';

/** Initial mixture of channel d: (d / D)^(1 - block / NB), so that later blocks look less at the step before. */
function shiftInit(D: number, block: number, blocks: number): Init {
  const values = Array.from({ length: D }, (_, d) => (d / D) ** (1 - block / blocks));
  return { kind: 'values', values };
}

/** key [F,D], value [D,F], receptance [D,D]; the latter two start at zero, as in RWKV-LM, the first as the model's `init` says. */
export function channelMixParameters(
  D: number,
  F: number,
  { block, blocks, inputInit }: { block: number; blocks: number; inputInit: Init },
): ParameterTable {
  const mu = { shape: [D], init: shiftInit(D, block, blocks), decay: false };
  return {
    keyShift: mu,
    receptanceShift: mu,
    ...prefixed('key', linearParameters(D, F, inputInit, false)),
    ...prefixed('receptance', linearParameters(D, D, constant(0), false)),
    ...prefixed('value', linearParameters(F, D, constant(0), false)),
  };
}

/** sigmoid(R x_r) * V relu(K x_k)^2: y [B,T,D] and the last input [B,1,D]. */
export function applyChannelMix(
  p: ParameterTensors,
  x: Tensor,
  state: Tensor | null,
  reset: Reset,
): [y: Tensor, last: Tensor] {
  const [forKey, last] = tokenShift(x, p['keyShift']!, { state, reset });
  const [forReceptance] = tokenShift(x, p['receptanceShift']!, { state, reset });
  const key = activate(applyLinear(p, 'key', forKey), 'relu2'); // [B,T,F]
  const value = applyLinear(p, 'value', key); // [B,T,D]
  return [gatedActivation(applyLinear(p, 'receptance', forReceptance), value, 'sigmoid'), last];
}

/** key [F,D], orthogonal, and value [D,F], zero: those of RWKV-7. Its shift is (d / D)^(rest^4) with rest = 1 - block / NB. */
export function plainChannelMixParameters(
  D: number,
  F: number,
  { block, blocks }: { block: number; blocks: number },
): ParameterTable {
  const values = Array.from({ length: D }, (_, d) => (d / D) ** ((1 - block / blocks) ** 4));
  return {
    keyShift: { shape: [D], init: { kind: 'values', values }, decay: false },
    ...prefixed('key', linearParameters(D, F, { kind: 'orthogonal', gain: 1 }, false)),
    ...prefixed('value', linearParameters(F, D, constant(0), false)),
  };
}

/** V relu(K x_k)^2: y [B,T,D] and the last input [B,1,D]. */
export function applyPlainChannelMix(
  p: ParameterTensors,
  x: Tensor,
  state: Tensor | null,
  reset: Reset,
): [y: Tensor, last: Tensor] {
  const [forKey, last] = tokenShift(x, p['keyShift']!, { state, reset });
  return [applyLinear(p, 'value', activate(applyLinear(p, 'key', forKey), 'relu2')), last];
}
