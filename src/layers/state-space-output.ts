/**
 * @file What stands behind the sequence map of S4, S4D and DSS: GELU and a gated map over channels
 * (arXiv 2111.00396 app. D.2). It mixes channels, not steps.
 */
import { dropout } from '../ops/dropout.js';
import { activate, gatedActivation } from '../ops/elementwise.js';
import type { RandomKey } from '../tensor/random.js';
import type { Tensor } from '../tensor/tensor.js';
import { applyLinearHalf, linearParameters } from './linear.js';
import { prefixed, type Init, type ParameterTable, type ParameterTensors } from './parameter.js';

interface OutputPlace {
  readonly dim: number;
  readonly bias: boolean;
  readonly outputInit: Init;
  readonly dropout: number;
}

/** out.weight [2D,D]: the map and its gate. */
export const stateSpaceOutputParameters = ({ dim: D, bias, outputInit }: OutputPlace): ParameterTable =>
  prefixed('out', linearParameters(D, 2 * D, outputInit, bias));

/** (W1 GELU(y)) * sigmoid(W2 GELU(y)): [B,T,D] -> [B,T,D]. */
export function applyStateSpaceOutput(
  p: ParameterTensors,
  y: Tensor,
  place: OutputPlace,
  key: RandomKey | null,
): Tensor {
  const active = activate(y, 'gelu');
  const gated = gatedActivation(applyLinearHalf(p, 'out', active, 1), applyLinearHalf(p, 'out', active, 0), 'sigmoid');
  return dropout(gated, place.dropout, key);
}
