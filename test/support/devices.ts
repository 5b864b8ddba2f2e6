/** @file The devices that tests run on: the reference always, the CPU where its library is built. */
import type { Device } from '../../src/device/device.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';

export interface TestDevice {
  readonly name: string;
  readonly create: () => Device;
}

export const referenceDevice = (): Device => createReferenceDevice();

export const testDevices = (): TestDevice[] => [{ name: 'reference', create: referenceDevice }];
