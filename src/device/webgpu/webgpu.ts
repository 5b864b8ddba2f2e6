/**
 * @file The WebGPU device: any GPU, in a browser or in Node through Dawn, float32. The kernels are WGSL under `kernels/`;
 * here they become a device of the contract.
 */
import { float32sOf, type Device } from '../device.js';
import { refusal } from '../kernel-names.js';
import type { Kernels } from '../kernels.js';
import { ABSENT } from './absent.js';
import { openAdapter } from './adapter.js';
import { Gpu } from './gpu.js';
import { conv1d } from './kernels/conv1d.js';
import { elementwise } from './kernels/elementwise.js';
import { headwise } from './kernels/headwise.js';
import { languageModel } from './kernels/language-model.js';
import { products } from './kernels/matmul.js';
import { fitsTiles } from './kernels/matmul-matrices.js';
import { lstm } from './kernels/lstm.js';
import { mlstmBackward } from './kernels/mlstm-backward.js';
import { mlstmForward } from './kernels/mlstm-forward.js';
import { mlstmStep } from './kernels/mlstm-step.js';
import { norms } from './kernels/norms.js';
import { packed } from './kernels/packed.js';
import { scan } from './kernels/scan.js';
import { slstm } from './kernels/slstm.js';
import { sums } from './kernels/sums.js';

export interface WebGpuOptions {
  /** Where to look for an adapter (a `GPU` object); by default the browser's, or Dawn's in Node. */
  readonly gpu?: unknown;
  /**
   * 'float16' rounds the operands of matrix products to float16 and sums them in float32, by Dawn's subgroup matrices where
   * the adapter has them. Numbers above 65,504 become infinite. Products of few rows, and all of a GPU in software, stay
   * float32. By default 'float32'.
   */
  readonly products?: 'float32' | 'float16';
  /** Whether to run kernels as is best for a GPU in software; by default as the adapter says. For tests. */
  readonly isSoftware?: boolean;
  /** False to write kernels without subgroups, where the adapter has them. For tests. */
  readonly hasSubgroups?: boolean;
}

export interface WebGpuDevice extends Device {
  /** The GPUDevice, for what this library does not do. */
  readonly gpuDevice: unknown;
  /** Ends the device and gives all its memory back. */
  destroy(): void;
}

/**
 * The WebGPU device. Several may exist.
 * @throws WebGpuError where there is no WebGPU or no adapter, or with float16 products none that has `shader-f16`, saying
 * what to do.
 */
export async function createWebGpuDevice({ gpu, products, ...options }: WebGpuOptions = {}): Promise<WebGpuDevice> {
  const wanted = { wantsHalves: products === 'float16', fits: fitsTiles };
  const { device, description, isSoftware, halves } = await openAdapter(wanted, gpu as GPU | undefined);
  return assemble(new Gpu(device, { isSoftware, halves, ...options }), description);
}

function kernelsOf(gpu: Gpu): Kernels {
  const present = {
    ...elementwise(gpu),
    ...sums(gpu),
    ...products(gpu),
    ...headwise(gpu),
    ...norms(gpu),
    ...conv1d(gpu),
    ...packed(gpu),
    ...scan(gpu),
    ...slstm(gpu),
    ...lstm(gpu),
    ...mlstmForward(gpu),
    ...mlstmBackward(gpu),
    ...mlstmStep(gpu),
    ...languageModel(gpu),
  } satisfies Omit<Kernels, keyof typeof ABSENT>;
  const absent = Object.entries(ABSENT).map(([name, reason]) => [name, refusal('webgpu', name, reason)]);
  return { ...present, ...(Object.fromEntries(absent) as Pick<Kernels, keyof typeof ABSENT>) };
}

function assemble(gpu: Gpu, description: string): WebGpuDevice {
  const { pool } = gpu;
  const kernels = kernelsOf(gpu);
  let poison = false;
  const device: WebGpuDevice = {
    name: 'webgpu',
    precision: 'float32',
    hasBf16: false,
    kernels,
    info: { description, threads: 1, isEmulated: gpu.isSoftware },
    absent: new Map(Object.entries(ABSENT)) as Device['absent'],
    gpuDevice: gpu.device,

    alloc(dtype, length) {
      const buffer = gpu.alloc(dtype, length);
      if (poison && dtype === 'float') kernels.fill(buffer, NaN, length);
      return buffer;
    },
    share(dtype, memory) {
      const bytes = memory instanceof Uint8Array ? memory : memory.bytes();
      const data = dtype === 'uint8' ? bytes : float32sOf('webgpu: share', bytes);
      const buffer = gpu.alloc(dtype, data.length);
      gpu.write(buffer, data);
      return buffer;
    },
    free: (buffer) => pool.free(pool.own(buffer, 'free: its argument')),
    view: (buffer, offset, length) => gpu.view(buffer, offset, length),
    write: (buffer, data) => gpu.write(pool.own(buffer, 'write: its argument'), data),
    cast(y, x) {
      if (y.dtype !== 'float' || x.dtype !== 'float') throw new TypeError(`webgpu: cast of ${x.dtype} to ${y.dtype}`);
      if (y.length !== x.length) {
        throw new RangeError(`webgpu: cast of ${x.length} elements to a buffer of ${y.length}`);
      }
      kernels.copy(y, x, x.length);
    },
    guarded(scalars, clip, body) {
      gpu.guard = { scalars: pool.own(scalars, 'guarded: its scalars'), clip };
      try {
        body();
      } finally {
        gpu.guard = null;
      }
    },
    read: (buffer) => gpu.read(pool.own(buffer, 'read: its argument')),
    memory: {
      get bytes() {
        return pool.bytes;
      },
      get peak() {
        return pool.peak;
      },
      resetPeak: () => pool.resetPeak(),
    },
    get poison() {
      return poison;
    },
    set poison(on) {
      poison = on;
    },
    destroy: () => gpu.destroy(),
  };
  return device;
}
