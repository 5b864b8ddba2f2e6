/** @file Opens the GPU for the worker, and says in which way there is none; and opens it again after a loss. */
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

/** The browser starts its GPU process anew after a crash, which takes a while. */
const TRIES = 6;
const BETWEEN_TRIES_MS = 1000;

/** Its GPU was taken from the page, which gets no other one. */
export class NoGpuError extends Error {
  override readonly name = 'NoGpuError';
}

/** @throws NoGpuError in a sentence when none opens */
export async function reopenGpu(): Promise<Device> {
  for (let tries = 1; ; tries++) {
    try {
      return await openDevice();
    } catch (cause) {
      if (tries < TRIES) await new Promise((resolve) => setTimeout(resolve, BETWEEN_TRIES_MS));
      else throw new NoGpuError('The GPU was lost again, and the browser gives this page no other one.', { cause });
    }
  }
}
