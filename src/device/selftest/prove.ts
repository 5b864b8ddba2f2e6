/** @file The self-test before the first use of a GPU: once, then its outcome is known. It opens no device. */
import type { Device } from '../device.js';
import type { KernelName } from '../kernels.js';
import { createReferenceDevice } from '../reference/reference.js';
import { keepProof, readProof } from './proof.js';
import { describeFailure, selftest, type SelftestResult } from './selftest.js';

const MOST_TOLD = 3;

/**
 * Runs the self-test on a device that has not passed it yet, unless `$XLSTM_SKIP_SELFTEST` is set.
 * @param tell  told what is done, a part of a line at a time; default: standard error
 * @throws Error naming the kernels that do not agree with the reference.
 */
export async function prove(
  device: Device,
  tell: (text: string) => unknown = (text) => process.stderr.write(text),
): Promise<void> {
  if (process.env['XLSTM_SKIP_SELFTEST'] || readProof(device) !== null) return;
  tell(`${device.name}: first use of ${device.info.description}: testing its kernels, once (up to a minute) ... `);
  const started = performance.now();
  const kernels = (Object.keys(device.kernels) as KernelName[]).filter((name) => !device.absent.has(name));
  const results = await selftest(device, createReferenceDevice(), { kernels });
  keepProof(device, results);
  const wrong = results.filter(({ ok }) => !ok);
  const ran = results.filter(({ skipped }) => skipped === undefined).length;
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  tell(`${ran - wrong.length} of ${ran} cases agree, ${seconds} s\n`);
  if (wrong.length > 0) throw new Error(refusal(device, wrong));
}

function refusal({ name }: Device, wrong: readonly SelftestResult[]): string {
  const kernels = [...new Set(wrong.map(({ kernel }) => kernel))];
  const told = wrong.slice(0, MOST_TOLD).map(describeFailure);
  const others = wrong.length > MOST_TOLD ? `; and ${wrong.length - MOST_TOLD} cases more` : '';
  return (
    `${name}: kernels are wrong on this machine: ${kernels.join(', ')} (${told.join('; ')}${others}). Use --device cpu; ` +
    `xlstm selftest --device ${name} tells all, and XLSTM_SKIP_SELFTEST=1 goes on in spite of it`
  );
}
