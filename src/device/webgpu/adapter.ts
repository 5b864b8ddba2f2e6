/**
 * @file Finds a GPU: that of the browser, or through Dawn (the npm package `webgpu`) in Node. It asks for what the adapter
 * has, and says what to do where there is none. No Node module is imported by name, so that a page can be bundled.
 */

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
 * writes each by an instruction of its own: compiling then takes ten times as long, and running three times.
 */
const DAWN_OPTIONS = ['disable-dawn-features=use_vulkan_zero_initialize_workgroup_memory_extension'];

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
}

/**
 * @param gpu  where to look; by default the browser's, or Dawn's in Node
 * @throws WebGpuError when there is no adapter.
 */
export async function openAdapter(gpu?: GPU): Promise<Opened> {
  const found = gpu ?? (await findGpu());
  const adapter = await found.requestAdapter({ powerPreference: 'high-performance' });
  if (adapter === null) throw new WebGpuError(isNode() ? NO_GPU : NO_GPU_IN_PAGE);
  const requiredLimits = Object.fromEntries(RAISED.map((name) => [name, adapter.limits[name]]));
  const requiredFeatures = WANTED.filter((feature) => adapter.features.has(feature));
  const device = await adapter.requestDevice({ requiredLimits, requiredFeatures }).catch((cause: Error) => {
    throw new WebGpuError(`webgpu: ${describe(adapter)} gives no device: ${cause.message.trim()}`, { cause });
  });
  return { device, description: describe(adapter), isSoftware: adapter.info.isFallbackAdapter };
}

/** "nvidia hopper, NVIDIA H100 PCIe (580.95.05)"; "google swiftshader, SwiftShader driver 5.0.0, in software". */
function describe({ info }: GPUAdapter): string {
  const parts = [[info.vendor, info.architecture].filter(Boolean).join(' '), info.description || info.device];
  if (info.isFallbackAdapter) parts.push('in software');
  return parts.filter(Boolean).join(', ') || 'a GPU that does not say its name';
}
