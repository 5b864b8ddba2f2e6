/** @file `xlstm selftest`: every kernel of one device against the reference, with the error of each. */
import { Command } from 'commander';
import { openDevice, type DeviceChoice } from '../device/open.js';
import { KERNEL_NAMES } from '../device/kernel-names.js';
import type { KernelName } from '../device/kernels.js';
import { createReferenceDevice } from '../device/reference/reference.js';
import { keepProof } from '../device/selftest/proof.js';
import { describeFailure, selftest, type SelftestResult } from '../device/selftest/selftest.js';

export function selftestCommand(): Command {
  return new Command('selftest')
    .description('Run every kernel of a device against the reference and print how close each comes.')
    .option('--device <name>', 'auto, cuda, cpu, webgpu or reference', 'auto')
    .option('--kernels <names...>', 'only these, by their names in src/device/kernels.ts')
    .action(run);
}

async function run({ device: choice, kernels }: { device: DeviceChoice; kernels?: string[] }): Promise<void> {
  const unknown = kernels?.find((name) => !(KERNEL_NAMES as string[]).includes(name));
  if (unknown !== undefined) throw new Error(`selftest: no kernel "${unknown}"; there are ${KERNEL_NAMES.join(', ')}`);
  const device = await openDevice(choice);
  process.stdout.write(`${device.name}: ${device.info.description}\n`);
  const only = kernels === undefined ? {} : { kernels: kernels as KernelName[] };
  const results = await selftest(device, createReferenceDevice(), only);
  if (kernels === undefined) keepProof(device, results);
  for (const line of summarize(results)) process.stdout.write(`${line}\n`);
  if (results.some(({ ok }) => !ok)) process.exitCode = 1;
}

/** A line per kernel, then one per case that is wrong, then the totals. */
export function summarize(results: readonly SelftestResult[]): string[] {
  const byKernel = new Map<KernelName, SelftestResult[]>();
  for (const result of results) byKernel.set(result.kernel, [...(byKernel.get(result.kernel) ?? []), result]);
  const lines = [...byKernel].map(([kernel, cases]) => {
    const skipped = cases.find((result) => result.skipped !== undefined)?.skipped;
    if (skipped !== undefined) return `skip  ${kernel.padEnd(28)} ${skipped}`;
    const worst = Math.max(0, ...cases.flatMap(({ outputs }) => outputs.map(({ relativeRms }) => relativeRms)));
    const ok = cases.every((result) => result.ok);
    return `${ok ? 'ok   ' : 'WRONG'} ${kernel.padEnd(28)} ${cases.length} cases, relative RMS up to ${worst.toExponential(1)}`;
  });
  const ran = results.filter(({ skipped }) => skipped === undefined);
  const wrong = ran.filter(({ ok }) => !ok);
  const total = `${ran.length - wrong.length} of ${ran.length} cases agree; ${results.length - ran.length} skipped`;
  return [...lines, ...wrong.map(describeFailure), total];
}
