/** @file The reference device with a recorder: kernels are kept as calls, and made again when a recording is launched. */
import type { Device, RecordedUpdate, Recorder, Recording } from '../../src/device/device.js';
import { KERNEL_NAMES } from '../../src/device/kernel-names.js';
import type { DeviceBuffer, Kernels } from '../../src/device/kernels.js';
import { own } from '../../src/device/reference/buffer.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';

export interface RecordingDevice extends Device {
  readonly recorder: Recorder;
  /** How many recordings were made, are alive, and were launched. */
  readonly counts: { made: number; alive: number; launches: number };
  /** Destroys all recordings, as a device does that runs out of memory. */
  takeBack(): void;
}

export function recordingDevice(): RecordingDevice {
  const base = createReferenceDevice();
  const counts = { made: 0, alive: 0, launches: 0 };
  const alive = new Set<Recording>();
  /** What is being recorded: calls, and buffers that are the recording's own from then on. */
  let now: { readonly calls: (() => void)[]; readonly freed: DeviceBuffer[] } | null = null;

  const enqueue = (call: () => void): void => void (now === null ? call() : now.calls.push(call));
  const refuse = (what: string): void => {
    if (now !== null) throw new Error(`${what} while kernels are recorded`);
  };
  const kernels = Object.fromEntries(
    KERNEL_NAMES.map((name) => {
      const run = base.kernels[name] as (...args: unknown[]) => void;
      return [name, (...args: unknown[]) => enqueue(() => run(...args))];
    }),
  ) as unknown as Kernels;

  const record = (run: () => void): Recording => {
    const own = { calls: [] as (() => void)[], freed: [] as DeviceBuffer[] };
    now = own;
    try {
      run();
    } finally {
      now = null;
    }
    counts.made++;
    counts.alive++;
    let isDestroyed = false;
    const recording: Recording = {
      launch() {
        if (isDestroyed) throw new Error('launch of a recording that was destroyed');
        counts.launches++;
        for (const call of own.calls) call();
      },
      destroy() {
        if (isDestroyed) return;
        isDestroyed = true;
        counts.alive--;
        alive.delete(recording);
        for (const buffer of own.freed) base.free(buffer);
      },
      get isDestroyed() {
        return isDestroyed;
      },
    };
    alive.add(recording);
    return recording;
  };

  const update: RecordedUpdate = {
    clipScale: (scale, found, clip) =>
      enqueue(() => {
        const [loss, squares] = own(found).data as Float64Array;
        const norm = Math.sqrt(squares!);
        const isFinite = Number.isFinite(loss) && Number.isFinite(norm);
        own(scale).data[0] = isFinite ? Math.min(1, clip / norm) : NaN;
      }),
    adamw: (parameter, copy, m, v, gradient, scale, rates, N, beta1, beta2, eps) =>
      enqueue(() => {
        const factor = own(scale).data[0]!;
        if (Number.isNaN(factor)) return;
        const [rate, inverse2, decay] = own(rates).data as Float64Array;
        const numbers = [factor, rate!, beta1, beta2, eps, decay! / rate!, 1, 1 / inverse2!] as const;
        base.kernels.adamw(parameter, m, v, gradient, N, ...numbers);
        if (copy !== null) base.kernels.copy(copy, parameter, N);
      }),
  };

  return Object.create(base, {
    kernels: { value: kernels },
    recorder: { value: { record, update } satisfies Recorder },
    counts: { value: counts },
    takeBack: { value: () => alive.forEach((recording) => recording.destroy()) },
    cast: { value: (y: DeviceBuffer, x: DeviceBuffer) => kernels.copy(y, x, x.length) },
    free: { value: (buffer: DeviceBuffer) => (now === null ? base.free(buffer) : void now.freed.push(buffer)) },
    write: {
      value: (...args: Parameters<Device['write']>) => {
        refuse('write');
        base.write(...args);
      },
    },
    read: {
      value: async (buffer: DeviceBuffer) => {
        refuse('read');
        return base.read(buffer);
      },
    },
  }) as RecordingDevice;
}
