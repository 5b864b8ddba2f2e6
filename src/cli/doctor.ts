/** @file `xlstm doctor`: which devices work on this machine, and why the others do not. */
import os from 'node:os';
import { Command } from 'commander';
import { surveyDevices, type DeviceReport } from '../device/open.js';
import { createReferenceDevice } from '../device/reference/reference.js';
import { keepProof, readProof } from '../device/selftest/proof.js';
import { selftest } from '../device/selftest/selftest.js';
import { formatBytes } from '../format.js';
import { packageVersion } from '../package-version.js';

export function doctorCommand(): Command {
  return new Command('doctor')
    .description(
      'Say which devices work here, prove their kernels against the reference, and why the others do not work.',
    )
    .option('--quick', 'open the devices only, without the self-test')
    .action(doctor);
}

async function doctor(options: { quick?: boolean }): Promise<void> {
  process.stdout.write(
    `xlstm ${packageVersion()}, Node ${process.versions.node}, ${process.platform} ${process.arch}\n` +
      `${os.cpus()[0]?.model.trim() ?? 'unknown CPU'}, ${os.cpus().length} cores, ${formatBytes(os.totalmem())} of memory\n\n`,
  );
  let works = false;
  for (const report of await surveyDevices()) {
    const line = await examine(report, options.quick ?? false);
    works ||= line.ok && report.name !== 'reference';
    process.stdout.write(`${line.ok ? 'works ' : 'fails '} ${report.name.padEnd(10)} ${line.text}\n`);
  }
  process.stdout.write(
    works
      ? '\n"auto" takes the first that works.\n'
      : '\nOnly the reference device works: right but slow, and taken only when asked for (--device reference).\n',
  );
  if (!works) process.exitCode = 1;
}

async function examine(
  { name, device, problem }: DeviceReport,
  quick: boolean,
): Promise<{ ok: boolean; text: string }> {
  if (device === null) return { ok: false, text: problem ?? 'for an unknown reason' };
  if (quick || name === 'reference') return { ok: true, text: device.info.description };
  const lacking = device.absent.size === 0 ? '' : `; not there yet: ${[...device.absent.keys()].join(', ')}`;
  const proof = readProof(device);
  if (proof !== null) {
    const day = proof.tested.slice(0, 10);
    return {
      ok: true,
      text: `${device.info.description}; tested ${day}: ${proof.cases} kernel cases agreed${lacking}`,
    };
  }
  if (device.info.isEmulated) {
    return { ok: true, text: `${device.info.description}; slow: xlstm selftest --device ${name} takes a minute` };
  }
  const results = await selftest(device, createReferenceDevice());
  keepProof(device, results);
  const failed = results.filter(({ ok }) => !ok);
  const run = results.filter(({ skipped }) => skipped === undefined).length;
  const text = `${device.info.description}; ${run - failed.length} of ${run} kernel cases agree with the reference${lacking}`;
  return {
    ok: failed.length === 0,
    text: failed.length === 0 ? text : `${text}; wrong: ${failed.map((r) => r.name).join(', ')}`,
  };
}
