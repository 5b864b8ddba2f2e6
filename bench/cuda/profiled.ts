/** @file Where the time goes: a CUDA device that adds up the GPU's time of every kernel. */
import type { CudaDevice } from '../../src/device/cuda/cuda.js';
import type { Device } from '../../src/device/device.js';
import type { Kernels } from '../../src/device/kernels.js';
import { KERNEL_NAMES } from '../../src/device/kernel-names.js';

export const PROFILE_HEAD = ['kernel', 'calls', 'ms', 'share'];

/** The device with its kernels timed, and what they took: a row each, the 20 that took longest, over `runs` runs. */
export function profiled(device: CudaDevice): { device: Device; rows(runs: number): string[][] } {
  const times = new Map<string, { ms: number; calls: number }>();
  const kernels = Object.fromEntries(
    KERNEL_NAMES.map((name) => [
      name,
      (...args: unknown[]) => {
        const ms = device.time(() => (device.kernels[name] as (...a: unknown[]) => void)(...args));
        const before = times.get(name) ?? { ms: 0, calls: 0 };
        times.set(name, { ms: before.ms + ms, calls: before.calls + 1 });
      },
    ]),
  ) as unknown as Kernels;
  const rows = (runs: number): string[][] => {
    const total = [...times.values()].reduce((sum, { ms }) => sum + ms, 0);
    return [...times]
      .sort(([, a], [, b]) => b.ms - a.ms)
      .slice(0, 20)
      .map(([name, { ms, calls }]) => [
        name,
        (calls / runs).toFixed(0),
        (ms / runs).toFixed(2),
        `${((100 * ms) / total).toFixed(1)} %`,
      ]);
  };
  // A recording would have no times.
  return {
    device: Object.create(device, { kernels: { value: kernels }, recorder: { value: undefined } }) as Device,
    rows,
  };
}
