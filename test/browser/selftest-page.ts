/** @file What the self-test in a browser runs: bundled for a page by `test/device/webgpu-browser.test.ts`. */
import { KERNEL_NAMES } from '../../src/device/kernel-names.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import { describeFailure, selftest } from '../../src/device/selftest/selftest.js';
import { createWebGpuDevice } from '../../src/device/webgpu/webgpu.js';

/** What the page tells the test. */
export interface PageReport {
  readonly description: string;
  readonly kernels: readonly string[];
  readonly cases: number;
  readonly failures: readonly string[];
}

async function runSelftest(): Promise<PageReport> {
  const device = await createWebGpuDevice();
  const kernels = KERNEL_NAMES.filter((name) => !device.absent.has(name));
  const all = await selftest(device, createReferenceDevice(), { kernels });
  const results = all.filter(({ skipped }) => skipped === undefined);
  device.destroy();
  return {
    description: device.info.description,
    kernels: [...new Set(results.map(({ kernel }) => kernel))],
    cases: results.length,
    failures: results.filter(({ ok }) => !ok).map(describeFailure),
  };
}

Object.assign(globalThis, { runSelftest });
