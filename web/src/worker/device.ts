/** @file Opens the GPU for the worker, and says in which way there is none. */
import { openDevice, WebGpuError, type Device } from 'xlstm';
import type { DeviceFault } from '../protocol.js';

export type Opened = { readonly device: Device } | { readonly fault: DeviceFault; readonly message: string };

export async function openGpu(): Promise<Opened> {
  try {
    return { device: await openDevice() };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (!self.isSecureContext) return { fault: 'insecure', message };
    if (!('gpu' in navigator)) return { fault: 'missing', message };
    return { fault: error instanceof WebGpuError ? 'adapter' : 'other', message };
  }
}
