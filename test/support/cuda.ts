/** @file The cuda device for tests that want it, or the reason why it is not here. */
import { existsSync } from 'node:fs';
import type { CudaDevice } from '../../src/device/cuda/cuda.js';
import { createCudaDevice } from '../../src/device/cuda/cuda.js';
import { cudaLibraryCandidates } from '../../src/device/cuda/library.js';

/**
 * The device, or a sentence that says why this machine has none: no library was built, or there is no GPU or no driver.
 * A library that does not fit its headers is a failure, and is thrown as any other.
 */
export function cudaOrReason(): CudaDevice | string {
  try {
    return createCudaDevice();
  } catch (error) {
    const { message } = error as Error;
    const isBuilt = cudaLibraryCandidates().some(({ path }) => existsSync(path));
    if (!isBuilt || /no NVIDIA (driver|GPU)/.test(message)) return message;
    throw error;
  }
}
