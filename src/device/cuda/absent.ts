/**
 * @file The kernels that the CUDA device does not have yet, each with the reason. native/build-cuda.mjs reads this table:
 * a kernel that is not named here must be in native/cuda. One line per kernel.
 */
import type { AbsentKernels } from '../kernel-names.js';

const NOT_WRITTEN = 'it is not written for CUDA yet';

export const ABSENT = {
  longConvForward: NOT_WRITTEN,
  longConvBackward: NOT_WRITTEN,
  ssmDiscretizeForward: NOT_WRITTEN,
  ssmDiscretizeBackward: NOT_WRITTEN,
  ssmKernelForward: NOT_WRITTEN,
  ssmKernelBackward: NOT_WRITTEN,
  diagonalScanForward: NOT_WRITTEN,
  diagonalScanBackward: NOT_WRITTEN,
  s4ScanForward: NOT_WRITTEN,
  s4ScanBackward: NOT_WRITTEN,
  selectiveScanForward: NOT_WRITTEN,
  selectiveScanBackward: NOT_WRITTEN,
  wkvForward: NOT_WRITTEN,
  wkvBackward: NOT_WRITTEN,
  attentionForward: NOT_WRITTEN,
  attentionBackward: NOT_WRITTEN,
  linformerForward: NOT_WRITTEN,
  linformerBackward: NOT_WRITTEN,
  deltaRuleForward: NOT_WRITTEN,
  deltaRuleBackward: NOT_WRITTEN,
  linearAttentionForward: NOT_WRITTEN,
  linearAttentionBackward: NOT_WRITTEN,
  dplrForward: NOT_WRITTEN,
  dplrBackward: NOT_WRITTEN,
} satisfies AbsentKernels;
