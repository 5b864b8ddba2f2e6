/** @file Opens a device by name, or the fastest one that works here; says why the others do not. */
import { createCpuDevice, type CpuOptions } from './cpu/cpu.js';
import { ABSENT } from './cuda/absent.js';
import { createCudaDevice, type CudaOptions } from './cuda/cuda.js';
import type { Device, DeviceName } from './device.js';
import type { KernelName } from './kernels.js';
import { createReferenceDevice } from './reference/reference.js';
import { createWebGpuDevice, type WebGpuOptions } from './webgpu/webgpu.js';

/** A device's name, or "auto" for the fastest that works. */
export type DeviceChoice = DeviceName | 'auto';

export interface DeviceOptions extends CpuOptions, CudaOptions, WebGpuOptions {
  /** The kernels that will be called, for "auto", which then minds only them; default: all of the contract. */
  readonly needs?: () => ReadonlySet<KernelName>;
  /** Told, in a sentence, that "auto" left out a device that works here, and why. */
  readonly onFallback?: (reason: string) => void;
}

interface Candidate {
  readonly name: DeviceName;
  readonly create: (options: DeviceOptions) => Device | Promise<Device>;
}

/** All devices, in the order of preference. */
const DEVICES: readonly Candidate[] = [
  { name: 'cuda', create: createCudaDevice },
  { name: 'cpu', create: createCpuDevice },
  { name: 'webgpu', create: createWebGpuDevice },
  { name: 'reference', create: () => createReferenceDevice() },
];

export const deviceNames: readonly DeviceName[] = DEVICES.map(({ name }) => name);

/**
 * Opens a device; asynchronous, since a GPU in a browser has no other way.
 * @param choice  "auto" takes the fastest that works here and has the kernels that are needed, of those that are compiled;
 *                the reference device is so slow that it must be asked for
 * @throws Error when it does not work here, saying why and what to do.
 */
export async function openDevice(choice: DeviceChoice = 'auto', options: DeviceOptions = {}): Promise<Device> {
  const name = choice === 'auto' ? fastest(options) : choice;
  const device = DEVICES.find((candidate) => candidate.name === name);
  if (device === undefined)
    throw new RangeError(`openDevice: no device "${choice}"; there are auto, ${deviceNames.join(', ')}`);
  return device.create(options);
}

/** cuda where it works and has what is needed; else cpu, whose error says what to do where that does not work either. */
function fastest(options: DeviceOptions): DeviceName {
  const absent = Object.keys(ABSENT) as KernelName[];
  if (options.needs === undefined && absent.length > 0) return 'cpu';
  try {
    createCudaDevice(options);
  } catch {
    return 'cpu'; // `surveyDevices` says why
  }
  const needs = options.needs?.();
  const lacking = needs === undefined ? absent : absent.filter((name) => needs.has(name));
  if (lacking.length === 0) return 'cuda';
  options.onFallback?.(`cuda works here but has no ${lacking.join(', ')} yet, so cpu is used`);
  return 'cpu';
}

export interface DeviceReport {
  readonly name: DeviceName;
  /** The opened device, or why it does not work. */
  readonly device: Device | null;
  readonly problem: string | null;
}

/** Tries every device, or those that are named. */
export async function surveyDevices(
  options: DeviceOptions = {},
  names: readonly DeviceName[] = deviceNames,
): Promise<DeviceReport[]> {
  const reports: DeviceReport[] = [];
  for (const { name, create } of DEVICES) {
    if (!names.includes(name)) continue;
    try {
      reports.push({ name, device: await create(options), problem: null });
    } catch (error) {
      reports.push({ name, device: null, problem: error instanceof Error ? error.message : String(error) });
    }
  }
  return reports;
}
