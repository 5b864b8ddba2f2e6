/** @file Opens a device to work on: as `openDevice`, and a GPU passes the self-test before its first use. */
import type { Device } from './device.js';
import { openDevice, type DeviceChoice, type DeviceOptions } from './open.js';

/** @throws Error as `openDevice` does, or naming the kernels that are wrong here. */
export async function openProven(choice: DeviceChoice = 'auto', options: DeviceOptions = {}): Promise<Device> {
  const device = await openDevice(choice, options);
  if (device.name === 'cuda') {
    const { prove } = await import('./selftest/prove.js'); // the cases are of no use to anybody else
    await prove(device);
  }
  return device;
}
