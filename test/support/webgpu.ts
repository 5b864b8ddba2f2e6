/** @file The WebGPU device for tests that want it, or the reason why it is not here: no package, or no adapter. */
import { WebGpuError } from '../../src/device/webgpu/adapter.js';
import { createWebGpuDevice, type WebGpuDevice, type WebGpuOptions } from '../../src/device/webgpu/webgpu.js';

/** A device as `createWebGpuDevice` makes it, which leaves the processor to a GPU in software while somebody waits for it. */
export async function webGpuForTests(options?: WebGpuOptions): Promise<WebGpuDevice> {
  const device = await createWebGpuDevice(options);
  return device.info.isEmulated === true ? withRests(device) : device;
}

export async function webGpuOrReason(options?: WebGpuOptions): Promise<WebGpuDevice | string> {
  try {
    return await webGpuForTests(options);
  } catch (error) {
    if (error instanceof WebGpuError) return error.message;
    throw error;
  }
}

const REST_MS = 2;
/** What is read sooner is not rested for. */
const PATIENCE_MS = 10;

/** Dawn asks in every turn of the event loop whether a read has ended, which takes a processor: here a turn takes 2 ms. */
function withRests(device: WebGpuDevice): WebGpuDevice {
  const never = new Int32Array(new SharedArrayBuffer(4));
  const { read } = device;
  let waiting = 0;
  let since = 0;
  let isLooping = false;
  const rest = (): void => {
    isLooping = waiting > 0;
    if (!isLooping) return;
    if (performance.now() - since > PATIENCE_MS) Atomics.wait(never, 0, 0, REST_MS);
    setImmediate(rest);
  };
  const readAndRest: WebGpuDevice['read'] = async (buffer) => {
    if (waiting++ === 0) since = performance.now();
    if (!isLooping) setImmediate(rest);
    isLooping = true;
    try {
      return await read(buffer);
    } finally {
      waiting--;
    }
  };
  return Object.assign(device, { read: readAndRest });
}
