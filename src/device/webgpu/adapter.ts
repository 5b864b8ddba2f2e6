/**
 * @file Finds a GPU: that of the browser, or through Dawn (the npm package `webgpu`) in Node. It asks for what the adapter
 * has, and says what to do where there is none. No Node module is imported by name, so that a page can be bundled.
 */

import { matrixUnit, SUBGROUP_MATRIX, type Halves, type MatrixUnit } from './halves.js';

/** Why there is no WebGPU here, in a sentence that says what to do. */
export class WebGpuError extends Error {
  override name = 'WebGpuError';
}

/** The part of the npm package that is used here. */
interface Dawn {
  create(options: string[]): GPU;
}

/**
 * Zeros of workgroup memory are written in a loop. Otherwise the driver is asked for them, and that of a GPU in software
 * writes each by an instruction of its own: compiling then takes ten times as long, and running three times. And an
 * adapter may name what is still an experiment (subgroup matrices; float16 on NVIDIA), which a device must ask for.
 */
const DAWN_OPTIONS = [
  'disable-dawn-features=use_vulkan_zero_initialize_workgroup_memory_extension',
  'enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia',
];

let dawn: Promise<GPU> | undefined;

/** The one Dawn of this process, which must stay alive as long as a device of it. */
async function dawnGpu(): Promise<GPU> {
  // By a variable, so that no bundler looks for it.
  const name: string = 'webgpu';
  let module: Dawn;
  try {
    module = (await import(/* @vite-ignore */ name)) as Dawn;
  } catch (cause) {
    const isMissing = (cause as { code?: string }).code === 'ERR_MODULE_NOT_FOUND';
    const why = isMissing ? 'it is not installed' : `it does not load: ${(cause as Error).message.split('\n')[0]}`;
    throw new WebGpuError(
      `webgpu: in Node the webgpu device needs the npm package webgpu (${why}); run: npm install webgpu. Or use --device cpu.`,
      { cause },
    );
  }
  return module.create(DAWN_OPTIONS);
}

const isNode = (): boolean =>
  (globalThis as { process?: { versions?: { node?: string } } }).process?.versions?.node !== undefined;

/** What the page or process offers. @throws WebGpuError when it has no WebGPU at all. */
async function findGpu(): Promise<GPU> {
  const own = (globalThis as { navigator?: { gpu?: GPU } }).navigator?.gpu;
  if (own !== undefined) return own;
  if (isNode()) return (dawn ??= dawnGpu());
  throw new WebGpuError(
    'webgpu: this browser has no WebGPU, or the page is not in a secure context (https or localhost). Chrome and Edge ' +
      'have it from 113 on, Safari from 26 on, Firefox from 141 on.',
  );
}

/**
 * Limits that are raised to what the adapter has. The others stay at what every adapter has, so that a kernel that needs
 * more (8 buffers) fails in every test.
 */
const RAISED = ['maxBufferSize', 'maxStorageBufferBindingSize', 'maxComputeWorkgroupStorageSize'] as const;

/** Features that are used where they are there. */
const WANTED: readonly GPUFeatureName[] = ['subgroups'];
/** Those that products in half precision need, and that they use. */
const FLOAT16: GPUFeatureName = 'shader-f16';
/** Workgroup memory that tiles of subgroup matrices take, and more. */
const MATRIX_MEMORY = 32_768;

const NO_GPU =
  'webgpu: no GPU was found. Install a driver (on Linux one for Vulkan and its loader: libvulkan1), or point ' +
  'VK_ICD_FILENAMES at the vk_swiftshader_icd.json of Chromium for a slow one in software; or use --device cpu.';
const NO_GPU_IN_PAGE =
  'webgpu: this browser knows WebGPU but gives no GPU to pages here. Turn on graphics acceleration in its settings and ' +
  'bring the graphics driver up to date; in Chrome and Edge the page about:gpu says what is missing.';

export interface Opened {
  readonly device: GPUDevice;
  readonly description: string;
  /** Whether the GPU is a program on the CPU. */
  readonly isSoftware: boolean;
  /** Null where products in half precision were not asked for. */
  readonly halves: Halves | null;
}

/** What is asked of an adapter. */
export interface Wanted {
  readonly wantsHalves: boolean;
  /** Whether the tiles of products can be made of such matrices. */
  readonly fits: (unit: MatrixUnit) => boolean;
}

/**
 * @param gpu  where to look; by default the browser's, or Dawn's in Node
 * @throws WebGpuError when there is no adapter, or none with what is wanted.
 */
export async function openAdapter({ wantsHalves, fits }: Wanted, gpu?: GPU): Promise<Opened> {
  const found = gpu ?? (await findGpu());
  const adapter = await found.requestAdapter({ powerPreference: 'high-performance' });
  if (adapter === null) throw new WebGpuError(isNode() ? NO_GPU : NO_GPU_IN_PAGE);
  const halves = wantsHalves ? halvesOf(adapter, fits) : null;
  const requiredLimits = Object.fromEntries(RAISED.map((name) => [name, adapter.limits[name]]));
  const requiredFeatures = WANTED.filter((feature) => adapter.features.has(feature));
  if (halves) requiredFeatures.push(FLOAT16, ...(halves.unit ? [SUBGROUP_MATRIX as GPUFeatureName] : []));
  const device = await adapter.requestDevice({ requiredLimits, requiredFeatures }).catch((cause: Error) => {
    throw new WebGpuError(`webgpu: ${describe(adapter)} gives no device: ${cause.message.trim()}`, { cause });
  });
  return { device, description: describe(adapter), isSoftware: adapter.info.isFallbackAdapter, halves };
}

function halvesOf(adapter: GPUAdapter, fits: Wanted['fits']): Halves {
  if (!adapter.features.has(FLOAT16)) {
    throw new WebGpuError(`webgpu: ${describe(adapter)} has no ${FLOAT16}, which float16 products need`);
  }
  const hasMatrices = adapter.features.has(SUBGROUP_MATRIX) && adapter.features.has('subgroups');
  const isRoomy = adapter.limits.maxComputeWorkgroupStorageSize >= MATRIX_MEMORY;
  return { unit: hasMatrices && isRoomy ? matrixUnit(adapter.info, fits) : null };
}

/** "nvidia hopper, NVIDIA H100 PCIe (580.95.05)"; "google swiftshader, SwiftShader driver 5.0.0, in software". */
function describe({ info }: GPUAdapter): string {
  const parts = [[info.vendor, info.architecture].filter(Boolean).join(' '), info.description || info.device];
  if (info.isFallbackAdapter) parts.push('in software');
  return parts.filter(Boolean).join(', ') || 'a GPU that does not say its name';
}
