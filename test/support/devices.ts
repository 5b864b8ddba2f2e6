/** @file The devices that tests run on: the reference always, the CPU where its library is built. */
import { createCpuDevice } from '../../src/device/cpu/cpu.js';
import type { Device } from '../../src/device/device.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';

export interface TestDevice {
  readonly name: string;
  readonly create: () => Device;
}

/** Why the CPU device does not work here; null where it does. `test/device/cpu-works.test.ts` fails on it. */
export const cpuProblem: string | null = (() => {
  try {
    createCpuDevice();
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
})();

export const referenceDevice = (): Device => createReferenceDevice();

export const testDevices = (): TestDevice[] => [
  { name: 'reference', create: referenceDevice },
  ...(cpuProblem === null ? [{ name: 'cpu', create: () => createCpuDevice() }] : []),
];

/** The name of the device that tests of whole runs use. */
export const fastestDevice = (): 'cpu' | 'reference' => (cpuProblem === null ? 'cpu' : 'reference');
