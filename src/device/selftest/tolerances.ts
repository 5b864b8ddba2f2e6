/**
 * @file How close a float32 kernel must come to the float64 reference: RMS(error) / RMS(reference) of each output.
 * Rounding to float32 alone is 3e-8 to 6e-8. In brackets what the cpu device was seen to reach at its worst over all
 * cases and instruction sets; the tolerance leaves about a factor of three for another order of operations.
 */
import type { KernelName } from '../kernels.js';

/** Nothing is computed, or every operation is prescribed to the bit. [0] */
const SAME = 0;
/** One or two roundings, which a case of a single element cannot average. [1.1e-7] */
const EXACT = 2e-7;
/** A few roundings, and a vector exp, tanh or erf. [1.9e-7] */
const ELEMENTWISE = 4e-7;
/** A sum of up to some thousand products in any order: the root of their number times a rounding. [4.9e-7] */
const SUM = 1e-6;
/** Errors travel through a recurrence: gates multiply them, time adds them up, q . n divides by them. [2.4e-7] */
const RECURRENT = 1e-6;
/** As above in the other direction, and gradients are differences of terms that are larger than they. [1.1e-6] */
const RECURRENT_GRADIENT = 3e-6;

export const float32Tolerance: Readonly<Record<KernelName, number>> = {
  fill: SAME,
  copy: SAME,
  accumulate: EXACT,
  add: EXACT,
  mulForward: EXACT,
  mulBackward: EXACT,
  activationForward: ELEMENTWISE,
  activationBackward: ELEMENTWISE,
  gatedActivationForward: ELEMENTWISE,
  gatedActivationBackward: ELEMENTWISE,
  skipGateForward: ELEMENTWISE,
  skipGateBackward: ELEMENTWISE,
  softCapForward: ELEMENTWISE,
  softCapBackward: ELEMENTWISE,
  dropoutForward: EXACT,
  dropoutBackward: EXACT,
  sumForward: ELEMENTWISE,
  sumBackward: EXACT,
  matmul: SUM,
  biasBackward: SUM,
  headwiseLinearForward: SUM,
  headwiseLinearBackward: SUM,
  packRows: SAME,
  unpackRows: SAME,
  linearPacked: SUM,
  embeddingPacked: SAME,
  layernormForward: SUM,
  layernormBackward: SUM,
  rmsnormForward: SUM,
  rmsnormBackward: SUM,
  conv1dForward: SUM,
  conv1dBackward: SUM,
  longConvForward: SUM,
  longConvBackward: SUM,
  ssmDiscretizeForward: ELEMENTWISE,
  ssmDiscretizeBackward: ELEMENTWISE,
  ssmKernelForward: SUM,
  ssmKernelBackward: SUM,
  diagonalScanForward: RECURRENT,
  diagonalScanBackward: RECURRENT_GRADIENT,
  s4ScanForward: ELEMENTWISE,
  s4ScanBackward: SUM,
  slstmForward: RECURRENT,
  slstmBackward: RECURRENT_GRADIENT,
  lstmForward: RECURRENT,
  lstmBackward: RECURRENT_GRADIENT,
  mlstmForward: RECURRENT,
  mlstmBackward: RECURRENT_GRADIENT,
  mlstmStep: RECURRENT,
  selectiveScanForward: RECURRENT,
  selectiveScanBackward: RECURRENT_GRADIENT,
  wkvForward: RECURRENT,
  wkvBackward: RECURRENT_GRADIENT,
  scanForward: RECURRENT,
  scanBackward: RECURRENT,
  positions: SAME,
  ropeForward: ELEMENTWISE,
  ropeBackward: ELEMENTWISE,
  attentionForward: SUM,
  attentionBackward: RECURRENT_GRADIENT,
  attentionCache: SAME,
  attentionCacheBackward: EXACT,
  linformerForward: SUM,
  linformerBackward: RECURRENT_GRADIENT,
  deltaRuleForward: RECURRENT,
  deltaRuleBackward: RECURRENT_GRADIENT,
  linearAttentionForward: RECURRENT,
  linearAttentionBackward: RECURRENT_GRADIENT,
  dplrForward: RECURRENT,
  dplrBackward: RECURRENT_GRADIENT,
  embeddingForward: SAME,
  embeddingBackward: SUM,
  linearCrossEntropyForward: SUM,
  linearCrossEntropyBackward: SUM,
  linearCrossEntropyForwardBackward: SUM,
  sumOfSquares: SUM,
  adamw: ELEMENTWISE,
};

/** A float64 device differs from the reference by the order of operations alone. */
export const FLOAT64_TOLERANCE = 1e-12;
