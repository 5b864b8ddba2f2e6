/** @file The cpu device for tests that want it, or the reason why it is not here. */
import { existsSync } from 'node:fs';
import { createCpuDevice } from '../../src/device/cpu/cpu.js';
import type { CpuOptions } from '../../src/device/cpu/cpu.js';
import { libraryCandidates, LibraryError } from '../../src/device/cpu/library.js';
import type { Device } from '../../src/device/device.js';

/**
 * The device, or a sentence that says why this machine has none: no library was built. A library that is there and does
 * not load is a failure, and is thrown as any other.
 */
export function cpuOrReason(options: CpuOptions = {}): Device | string {
  try {
    return createCpuDevice(options);
  } catch (error) {
    const isBuilt = libraryCandidates().some(({ path }) => existsSync(path));
    if (error instanceof LibraryError && !isBuilt) return error.message;
    throw error;
  }
}
