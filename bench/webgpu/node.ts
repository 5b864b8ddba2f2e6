/**
 * @file `npx tsx bench/webgpu/node.ts`: the webgpu device in Node, through Dawn, as shares of what the adapter can do at
 * most, which is measured first. The kernels are compared with the reference before they are timed. It needs nothing but
 * the package `webgpu`, so that it can be bundled for a machine with a GPU; docs/performance.md says how.
 */
import { parseArgs } from 'node:util';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import type { KernelName } from '../../src/device/kernels.js';
import { describeFailure, selftest } from '../../src/device/selftest/selftest.js';
import { createWebGpuDevice, type WebGpuDevice } from '../../src/device/webgpu/webgpu.js';
import { formatSeconds } from '../peers/lines.js';
import { median, printTable } from '../table.js';
import { measureLimits, type Limits } from './limits.js';
import { linesFor, type Line } from './node-lines.js';

const HELP = `Usage: npx tsx bench/webgpu/node.ts [--rounds 5] [--seconds 0.5] [--skip-selftest] [--software | --hardware]

The webgpu device in Node on the adapter that Dawn finds, against the peak and the bandwidth that are measured there.

  --rounds N       samples of each line (default: 5)
  --seconds S      of the calls of a sample, about (default: 0.5)
  --skip-selftest  do not compare the kernels with the reference first
  --software       kernels and sizes for a GPU in software, whatever the adapter says
  --hardware       those for a GPU in hardware`;

/** The kernels that are timed here, in the form that they have on this adapter. */
const KERNELS: readonly KernelName[] = [
  ...(['matmul', 'mlstmForward', 'mlstmBackward', 'slstmForward', 'slstmBackward', 'lstmForward'] as const),
  ...(['lstmBackward', 'linearCrossEntropyForward', 'linearCrossEntropyBackward', 'layernormForward'] as const),
  ...(['layernormBackward', 'conv1dForward', 'conv1dBackward', 'sumForward', 'sumOfSquares'] as const),
];

/** @throws Error when a kernel does not agree with the reference. */
async function prove(device: WebGpuDevice): Promise<void> {
  const results = await selftest(device, createReferenceDevice(), { kernels: KERNELS });
  const wrong = results.filter(({ ok }) => !ok);
  if (wrong.length > 0) throw new Error(wrong.map(describeFailure).join('\n'));
  console.log(`${results.length} cases of ${KERNELS.length} kernels agree with the reference`);
}

/** Cells of a line: its time, rate, share of the peak and of the bandwidth. */
async function measured(line: Line, limits: Limits, rounds: number, seconds: number): Promise<string[]> {
  const sample = async (calls: number): Promise<number> => {
    const start = performance.now();
    await line.run(calls);
    return (performance.now() - start) / 1000 / calls;
  };
  await sample(1);
  const calls = Math.max(1, Math.round(seconds / (await sample(3))));
  const times: number[] = [];
  while (times.length < rounds) times.push(await sample(calls));
  const time = median(times);
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  return [
    line.name,
    formatSeconds(time),
    formatSeconds(Math.min(...times)),
    (line.flops / time / 1e9).toFixed(0),
    percent(line.flops / time / limits.flops),
    line.bytes === undefined ? '' : percent(line.bytes / time / limits.bandwidth),
  ];
}

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '0.5' },
    'skip-selftest': { type: 'boolean', default: false },
    software: { type: 'boolean', default: false },
    hardware: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) console.log(HELP);
else {
  const forced = values.software ? { isSoftware: true } : values.hardware ? { isSoftware: false } : {};
  const device = await createWebGpuDevice(forced);
  const isSoftware = device.info.isEmulated === true;
  console.log(
    `adapter: ${device.info.description}; features: ${[...(device.gpuDevice as GPUDevice).features].join(', ')}`,
  );
  if (!values['skip-selftest']) await prove(device);
  const limits = await measureLimits(device.gpuDevice as GPUDevice, isSoftware);
  console.log(
    `peak of multiply-adds: ${(limits.flops / 1e9).toFixed(0)} GFLOP/s; copies: ${(limits.bandwidth / 1e9).toFixed(0)} GB/s; ` +
      `medians of ${values.rounds} samples`,
  );
  const rows: string[][] = [];
  for await (const line of linesFor(device, isSoftware)) {
    rows.push(await measured(line, limits, Number(values.rounds), Number(values.seconds)));
    process.stderr.write(`${line.name}\n`);
  }
  printTable(['', 'median', 'best', 'GFLOP/s', 'of peak', 'of bandwidth'], rows);
  device.destroy();
}
