/** @file The names of all kernels of the contract, and how a device says that it lacks some. It runs none. */
import type { DeviceName } from './device.js';
import type { KernelName, Kernels } from './kernels.js';

/** Every kernel of the contract, once; `satisfies` makes a forgotten one a compile error. */
const NAMES = {
  fill: true,
  copy: true,
  accumulate: true,
  add: true,
  mulForward: true,
  mulBackward: true,
  activationForward: true,
  activationBackward: true,
  gatedActivationForward: true,
  gatedActivationBackward: true,
  skipGateForward: true,
  skipGateBackward: true,
  softCapForward: true,
  softCapBackward: true,
  dropoutForward: true,
  dropoutBackward: true,
  sumForward: true,
  sumBackward: true,
  matmul: true,
  biasBackward: true,
  headwiseLinearForward: true,
  headwiseLinearBackward: true,
  packRows: true,
  unpackRows: true,
  linearPacked: true,
  embeddingPacked: true,
  layernormForward: true,
  layernormBackward: true,
  rmsnormForward: true,
  rmsnormBackward: true,
  conv1dForward: true,
  conv1dBackward: true,
  longConvForward: true,
  longConvBackward: true,
  ssmDiscretizeForward: true,
  ssmDiscretizeBackward: true,
  ssmKernelForward: true,
  ssmKernelBackward: true,
  diagonalScanForward: true,
  diagonalScanBackward: true,
  s4ScanForward: true,
  s4ScanBackward: true,
  slstmForward: true,
  slstmBackward: true,
  lstmForward: true,
  lstmBackward: true,
  mlstmForward: true,
  mlstmBackward: true,
  mlstmStep: true,
  selectiveScanForward: true,
  selectiveScanBackward: true,
  wkvForward: true,
  wkvBackward: true,
  scanForward: true,
  scanBackward: true,
  positions: true,
  ropeForward: true,
  ropeBackward: true,
  attentionForward: true,
  attentionBackward: true,
  attentionCache: true,
  attentionCacheBackward: true,
  linformerForward: true,
  linformerBackward: true,
  deltaRuleForward: true,
  deltaRuleBackward: true,
  linearAttentionForward: true,
  linearAttentionBackward: true,
  dplrForward: true,
  dplrBackward: true,
  embeddingForward: true,
  embeddingBackward: true,
  linearCrossEntropyForward: true,
  linearCrossEntropyBackward: true,
  sumOfSquares: true,
  adamw: true,
} satisfies Record<keyof Kernels, true>;

/** The names of all kernels. */
export const KERNEL_NAMES = Object.keys(NAMES) as (keyof Kernels)[];

/** Kernels that a device does not have yet, each with the reason. */
export type AbsentKernels = Readonly<Partial<Record<KernelName, string>>>;

/** What stands for a kernel that a device does not have: a call throws a sentence with its name and the reason. */
export const refusal = (device: DeviceName, name: string, reason: string) => (): never => {
  throw new Error(`${device}: the kernel ${name} is not there: ${reason}. Use another device, such as --device cpu`);
};
