/**
 * @file Opens a device in a page or a worker of one: the devices that need neither Node nor a native library. `open.ts` is
 * the same for Node, with all of them.
 */
import type { Device } from './device.js';
import { createWebGpuDevice, type WebGpuOptions } from './webgpu/webgpu.js';

/** "auto" is webgpu: the reference device is so slow that it must be asked for, and is loaded only then. */
export type PageDeviceChoice = 'auto' | 'webgpu' | 'reference';

/** @throws WebGpuError when there is no WebGPU or no adapter, saying what to do; RangeError for another name. */
export async function openDevice(choice: PageDeviceChoice = 'auto', options: WebGpuOptions = {}): Promise<Device> {
  if (choice === 'auto' || choice === 'webgpu') return createWebGpuDevice(options);
  if (choice === 'reference') return (await import('./reference/reference.js')).createReferenceDevice();
  throw new RangeError(`openDevice: a page has no device "${String(choice)}"; there are auto, webgpu, reference`);
}
