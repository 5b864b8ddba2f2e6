/** @file A device for tests of what happens when a GPU is lost. */
import type { Device } from '../../src/device/device.js';
import { DeviceLostError } from '../../src/device/device-lost.js';
import { referenceDevice } from './devices.js';

export type LosableDevice = Device & { lose(): void };

/** A device that can be lost as a GPU is: everything that it is asked for afterwards fails. */
export function losableDevice(): LosableDevice {
  const device = referenceDevice();
  let isLost = false;
  const check = (): void => {
    if (isLost) throw new DeviceLostError('fake: the device was lost', 'unknown');
  };
  const read: Device['read'] = async (buffer) => {
    check();
    const copy = await device.read(buffer); // it is taken at once, and arrives later
    await new Promise((resolve) => setTimeout(resolve, 1));
    check();
    return copy;
  };
  const write: Device['write'] = (buffer, data) => {
    check();
    device.write(buffer, data);
  };
  return Object.assign(Object.create(device) as Device, { read, write, lose: () => void (isLost = true) });
}
