/**
 * @file The one list of kernel cases, for every device: odd sizes, null options, resets, extreme gates and logits. What
 * is compared, and how closely, is in `selftest.ts`.
 */
import type { Device } from '../device.js';
import type { KernelName } from '../kernels.js';
import { attentionFamilyProblems } from './cases-attention.js';
import { deltaProblems } from './cases-delta.js';
import { linearAttentionProblems } from './cases-linear-attention.js';
import { partProblems } from './cases-parts.js';
import { longConvProblems } from './cases-long-conv.js';
import { packedProblems } from './cases-packed.js';
import { sequenceProblems } from './cases-sequence.js';
import { scanProblems } from './cases-scan.js';
import { stateSpaceProblems } from './cases-state-space.js';
import type { KernelCase, Problem } from './problem.js';
import { backwardCase, forwardCase } from './problem.js';

/** Every problem; each is a forward case, and with a `backward` kernel a backward case too. */
export const kernelProblems = (): Problem[] => [
  ...partProblems(),
  ...packedProblems(),
  ...sequenceProblems(),
  ...scanProblems(),
  ...linearAttentionProblems(),
  ...attentionFamilyProblems(),
  ...deltaProblems(),
  ...longConvProblems(),
  ...stateSpaceProblems(),
];

/**
 * The kernel cases, of all kernels or of those named. What a backward kernel reads of its forward kernel is computed by
 * the reference.
 *
 * @param reference  a device of `createReferenceDevice`
 */
export async function kernelCases(reference: Device, kernels?: readonly KernelName[]): Promise<KernelCase[]> {
  const isWanted = (kernel: KernelName): boolean => kernels?.includes(kernel) ?? true;
  const cases: KernelCase[] = [];
  for (const problem of kernelProblems()) {
    const { forward, backward } = problem;
    if (isWanted(forward)) cases.push(forwardCase(problem));
    if (backward !== undefined && isWanted(backward)) cases.push(await backwardCase(problem, reference));
  }
  return cases;
}
