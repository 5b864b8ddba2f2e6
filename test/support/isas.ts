/** @file The instruction sets of the CPU library that this machine has. */
import type { Device } from '../../src/device/device.js';
import { cpuOrReason } from './cpu.js';

/** Of all builds, slowest first. */
const NAMES = ['x86-64', 'x86-64-v3', 'x86-64-v3+vnni', 'x86-64-v4', 'x86-64-v4+vnni', 'arm64'];

/** `names` of those that can be chosen here; none without a library. Leaves the best one chosen. */
export function usableIsas(names = NAMES): string[] {
  const usable = names.filter((isa) => {
    try {
      return typeof cpuOrReason({ isa }) !== 'string';
    } catch {
      return false; // the machine or this build lacks it
    }
  });
  cpuOrReason(usable.length > 0 ? { isa: 'auto' } : {});
  return usable;
}

/** The cpu device with one instruction set and number of threads. @throws Error if it cannot be had. */
export function cpuWith(isa: string, threads = 0): Device {
  const device = cpuOrReason({ isa, threads });
  if (typeof device === 'string') throw new Error(device);
  return device;
}
