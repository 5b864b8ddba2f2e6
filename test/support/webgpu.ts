/** @file The WebGPU device for tests that want it, or the reason why it is not here: no package, or no adapter. */
import { WebGpuError } from '../../src/device/webgpu/adapter.js';
import { createWebGpuDevice, type WebGpuDevice } from '../../src/device/webgpu/webgpu.js';

export async function webGpuOrReason(): Promise<WebGpuDevice | string> {
  try {
    return await createWebGpuDevice();
  } catch (error) {
    if (error instanceof WebGpuError) return error.message;
    throw error;
  }
}
