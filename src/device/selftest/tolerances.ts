/**
 * @file How close a float32 kernel must come to the float64 reference: RMS(error) / RMS(reference) of each output.
 * Float32 rounds at 6e-8, so half of that in the root mean square; the rest is what an order of operations may cost.
 */
import type { KernelName } from '../kernels.js';

/** Nothing is computed. */
const SAME = 0;
/** A few roundings of a single element. */
const EXACT = 2e-7;
/** A few roundings, and a vector exp or tanh within 2 ulp. */
const ELEMENTWISE = 4e-7;
/** A sum of up to some thousand products, in any order. */
const SUM = 1e-6;
/** Errors travel through a recurrence: gates multiply them and time adds them up. */
const RECURRENT = 4e-6;
/** As above, and divided by q . n, which may be several times smaller than its terms. */
const NORMALISED = 1e-5;

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
  dropoutForward: EXACT,
  dropoutBackward: EXACT,
  sumForward: ELEMENTWISE,
  sumBackward: EXACT,
  matmul: SUM,
  biasBackward: SUM,
  headwiseLinearForward: SUM,
  headwiseLinearBackward: SUM,
  layernormForward: SUM,
  layernormBackward: SUM,
  rmsnormForward: SUM,
  rmsnormBackward: SUM,
  conv1dForward: SUM,
  conv1dBackward: SUM,
  slstmForward: RECURRENT,
  slstmBackward: RECURRENT,
  lstmForward: RECURRENT,
  lstmBackward: RECURRENT,
  mlstmForward: NORMALISED,
  mlstmBackward: NORMALISED,
  mlstmStep: NORMALISED,
  embeddingForward: SAME,
  embeddingBackward: SUM,
  linearCrossEntropyForward: SUM,
  linearCrossEntropyBackward: SUM,
  sumOfSquares: SUM,
  adamw: ELEMENTWISE,
};

/** A float64 device differs from the reference by the order of operations alone. */
export const FLOAT64_TOLERANCE = 1e-12;
