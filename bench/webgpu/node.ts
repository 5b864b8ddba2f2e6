/**
 * @file `npx tsx bench/webgpu/node.ts`: the webgpu device in Node, through Dawn, as shares of what the adapter can do at
 * most, which is measured first. The kernels are compared with the reference before they are timed. It needs nothing but
 * the package `webgpu`, so that it can be bundled for a machine with a GPU; docs/performance.md says how.
 */
import { parseArgs } from 'node:util';
import { createCudaDevice } from '../../src/device/cuda/cuda.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import type { KernelName } from '../../src/device/kernels.js';
import { describeFailure, selftest } from '../../src/device/selftest/selftest.js';
import { createWebGpuDevice, type WebGpuDevice } from '../../src/device/webgpu/webgpu.js';
import { formatSeconds } from '../peers/lines.js';
import { median, printTable } from '../table.js';
import { checkHalves } from './halves.js';
import { measureLimits, type Limits } from './limits.js';
import { linesFor, type Line } from './node-lines.js';

const HELP = `Usage: npx tsx bench/webgpu/node.ts [--rounds 5] [--seconds 0.5] [--skip-selftest] [--software | --hardware] [--cuda]
       [--float16]

The webgpu device in Node on the adapter that Dawn finds, against the peak and the bandwidth that are measured there.

  --rounds N       samples of each line (default: 5)
  --seconds S      of the calls of a sample, about (default: 0.5)
  --skip-selftest  do not compare the kernels with the reference first
  --software       kernels and sizes for a GPU in software, whatever the adapter says
  --hardware       those for a GPU in hardware
  --float16        operands of matrix products rounded to float16
  --cuda           the same calls on the cuda device too, in turns, and how many times as long they take on webgpu`;

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

/** @throws Error when a product of float16 operands is wrong. */
async function proveHalves(device: WebGpuDevice): Promise<void> {
  const checks = await checkHalves(device);
  const wrong = checks.filter(({ error, allowed }) => !(error <= allowed));
  if (wrong.length > 0) {
    throw new Error(wrong.map(({ name, error, allowed }) => `${name}: off by ${error}, allowed ${allowed}`).join('\n'));
  }
  console.log(`${checks.length} products of float16 operands are right`);
}

/** The median and the best time of a call of each line in seconds; the lines take turns. */
async function timesOf(lines: readonly Line[], rounds: number, seconds: number): Promise<[number, number][]> {
  const sample = async (line: Line, calls: number): Promise<number> => {
    const start = performance.now();
    await line.run(calls);
    return (performance.now() - start) / 1000 / calls;
  };
  const calls: number[] = [];
  for (const line of lines) {
    await sample(line, 1);
    calls.push(Math.max(1, Math.round(seconds / (await sample(line, 3)))));
  }
  const times = lines.map((): number[] => []);
  for (let round = 0; round < rounds; round++)
    for (const [index, line] of lines.entries()) times[index]!.push(await sample(line, calls[index]!));
  return times.map((samples) => [median(samples), Math.min(...samples)]);
}

/** Cells of a line: its time, rate, share of the peak and of the bandwidth; the time on a second device and the ratio. */
function cellsOf(line: Line, times: readonly [number, number][], limits: Limits): string[] {
  const [[time, best], other] = [times[0]!, times[1]];
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  return [
    line.name,
    formatSeconds(time),
    formatSeconds(best),
    (line.flops / time / 1e9).toFixed(0),
    percent(line.flops / time / limits.flops),
    line.bytes === undefined ? '' : percent(line.bytes / time / limits.bandwidth),
    ...(other ? [formatSeconds(other[0]), (time / other[0]).toFixed(2)] : []),
  ];
}

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '0.5' },
    'skip-selftest': { type: 'boolean', default: false },
    software: { type: 'boolean', default: false },
    hardware: { type: 'boolean', default: false },
    cuda: { type: 'boolean', default: false },
    float16: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) console.log(HELP);
else {
  const forced = values.software ? { isSoftware: true } : values.hardware ? { isSoftware: false } : {};
  const products = values.float16 ? 'float16' : 'float32';
  const device = await createWebGpuDevice({ ...forced, products });
  const isSoftware = device.info.isEmulated === true;
  console.log(
    `adapter: ${device.info.description}; features: ${[...(device.gpuDevice as GPUDevice).features].join(', ')}`,
  );
  if (values.float16) await proveHalves(device);
  else if (!values['skip-selftest']) await prove(device);
  const limits = await measureLimits(device.gpuDevice as GPUDevice, isSoftware);
  console.log(
    `peak of multiply-adds: ${(limits.flops / 1e9).toFixed(0)} GFLOP/s; copies: ${(limits.bandwidth / 1e9).toFixed(0)} GB/s; ` +
      `medians of ${values.rounds} samples`,
  );
  const rows: string[][] = [];
  const cuda = values.cuda ? createCudaDevice() : undefined;
  const others = cuda && linesFor(cuda, isSoftware, 'float32');
  for await (const line of linesFor(device, isSoftware, products)) {
    const other = await others?.next();
    const lines = other?.value ? [line, other.value] : [line];
    rows.push(cellsOf(line, await timesOf(lines, Number(values.rounds), Number(values.seconds)), limits));
    process.stderr.write(`${line.name}\n`);
  }
  const head = ['', 'median', 'best', 'GFLOP/s', 'of peak', 'of bandwidth'];
  printTable(cuda ? [...head, 'on cuda', 'ratio'] : head, rows);
  device.destroy();
}
