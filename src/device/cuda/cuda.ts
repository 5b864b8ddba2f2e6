/**
 * @file The CUDA device: memory and kernels of one NVIDIA GPU, float32. The kernels are CUDA C++ under `native/cuda`;
 * here are the choice of a GPU, graphs and what the device says of itself.
 */
import type { Device, Recorder } from '../device.js';
import type { DeviceBuffer } from '../kernels.js';
import { own } from '../native/buffer.js';
import { createNativeDevice } from '../native/device.js';
import type { Library } from '../native/library.js';
import { Recordings } from '../native/recordings.js';
import { OutOfMemoryError } from '../out-of-memory.js';
import { ABSENT } from './absent.js';
import { loadCudaLibrary } from './library.js';

export interface CudaOptions {
  /** Which GPU of the machine, from 0 on; a process uses one. Default 0. */
  readonly index?: number;
}

export interface CudaDevice extends Device {
  readonly recorder: Recorder;
  /** Waits for all kernels enqueued before. @throws Error for what one of them found wrong in its data. */
  synchronize(): void;
  /** Milliseconds that the GPU takes for what `run` enqueues. */
  time(run: () => void): number;
}

/**
 * The CUDA device. Several may exist on one GPU; they share the library, its stream and its pool of memory.
 * @throws LibraryError without the CUDA library; Error without a driver or a GPU of that index.
 */
export function createCudaDevice({ index = 0 }: CudaOptions = {}): CudaDevice {
  const library = loadCudaLibrary();
  library.call('xl_open_device', index);
  const device = createNativeDevice({
    name: 'cuda',
    library,
    readsHostMemory: false,
    hasBf16: true,
    absent: ABSENT,
    info: { description: describe(library), threads: 1, library: library.path },
  });
  const recordings = new Recordings(library);
  const { alloc } = device;
  return Object.assign(device, {
    alloc: (...wanted: Parameters<Device['alloc']>): DeviceBuffer => {
      try {
        return alloc(...wanted);
      } catch (error) {
        if (!(error instanceof OutOfMemoryError) || !recordings.takeBack()) throw error;
        return alloc(...wanted);
      }
    },
    recorder: createRecorder(library, recordings),
    synchronize: () => library.call('xl_synchronize'),
    time: (run: () => void) => time(library, run),
  });
}

/** "NVIDIA H100 80GB HBM3, sm_90, 132 multiprocessors, 79.1 GiB, driver for CUDA 13.0, cuBLASLt 13.1.0". */
function describe(library: Library): string {
  const info = new Float64Array(8);
  library.call('xl_device_info', info);
  const [index = 0, capability, multiprocessors, driver = 0, , bytes = 0, , devices = 1] = info;
  const parts = [
    `${String(library.get('xl_device_name')())}${devices > 1 ? ` (GPU ${index} of ${devices})` : ''}`,
    `sm_${capability}`,
    `${multiprocessors} multiprocessors`,
    `${(bytes / 2 ** 30).toFixed(1)} GiB`,
    `driver for CUDA ${Math.floor(driver / 1000)}.${Math.floor((driver % 1000) / 10)}`,
  ];
  return [...parts, describeCublasLt(library)].join(', ');
}

function describeCublasLt(library: Library): string {
  if (library.get('xl_load_cublaslt')() !== 0) return `no cuBLASLt (${library.lastError()})`;
  const version = Number(library.get('xl_cublaslt_version')());
  const [major, minor, patch] = [version / 10_000, (version % 10_000) / 100, version % 100].map(Math.floor);
  return `cuBLASLt ${major}.${minor}.${patch}`;
}

function createRecorder(library: Library, recordings: Recordings): Recorder {
  const address = (buffer: DeviceBuffer, what: string): number => own('cuda', buffer, what).address;
  return {
    record: (run) => recordings.record(run),
    update: {
      clipScale: (scale, found, clip) =>
        library.call('xl_clip_scale', address(scale, 'clipScale: scale'), address(found, 'clipScale: found'), clip),
      adamw: (parameter, copy, m, v, gradient, scale, rates, N, beta1, beta2, eps) => {
        const buffers = [m, v, gradient, scale, rates].map((buffer) => address(buffer, 'adamw'));
        const to = [address(parameter, 'adamw: parameter'), copy === null ? 0 : address(copy, 'adamw: copy')];
        library.call('xl_adamw_recorded', ...to, ...buffers, N, beta1, beta2, eps);
      },
    },
  };
}

function time(library: Library, run: () => void): number {
  const [start, end, milliseconds] = [new Float64Array(1), new Float64Array(1), new Float64Array(1)];
  library.call('xl_event_create', start);
  library.call('xl_event_create', end);
  try {
    library.call('xl_event_record', start[0]);
    run();
    library.call('xl_event_record', end[0]);
    library.call('xl_event_elapsed', milliseconds, start[0], end[0]);
    return milliseconds[0]!;
  } finally {
    library.call('xl_event_destroy', start[0]);
    library.call('xl_event_destroy', end[0]);
  }
}
