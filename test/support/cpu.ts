/** @file The cpu device for tests that want it, or the reason why it is not here. */
import { createCpuDevice } from '../../src/device/cpu/cpu.js';
import type { CpuOptions } from '../../src/device/cpu/cpu.js';
import { LibraryError } from '../../src/device/cpu/library.js';
import type { Device } from '../../src/device/device.js';

/** The device, or a sentence that says why this machine has none. Any other failure is thrown. */
export function cpuOrReason(options: CpuOptions = {}): Device | string {
  try {
    return createCpuDevice(options);
  } catch (error) {
    if (error instanceof LibraryError) return error.message;
    throw error;
  }
}
