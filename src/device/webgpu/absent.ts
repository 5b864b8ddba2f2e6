/** @file The kernels that the WebGPU device does not have, each with the reason. */
import type { AbsentKernels } from '../kernel-names.js';

const NOT_WRITTEN = 'it is not written in WGSL yet';

export const ABSENT = {
  packRows: 'matrices are packed once, where they are converted, on the cpu device',
  positions: NOT_WRITTEN,
  ropeForward: NOT_WRITTEN,
  ropeBackward: NOT_WRITTEN,
  attentionCache: NOT_WRITTEN,
  attentionCacheBackward: NOT_WRITTEN,
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
