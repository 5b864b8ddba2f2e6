/**
 * @file Times a whole training step of the default model on the CPU: against the sum of its kernels, one thread against
 * two, and what its memory is made of. It first proves that the step is right: the recorded PyTorch losses.
 */
import type { Device } from '../src/device/device.js';
import { createCpuDevice } from '../src/device/cpu/cpu.js';
import type { Kernels } from '../src/device/kernels.js';
import { formatBytes } from '../src/format.js';
import { LanguageModel } from '../src/model/language-model.js';
import { randomKey, uniform } from '../src/tensor/random.js';
import { Trainer, type HostBatch } from '../src/train/trainer.js';
import { median, printTable } from './table.js';
import { proveTrainCurve } from './prove.js';

const B = 8;
const T = 256;

/** The device with every kernel timed, each run as it is called. */
function profiled(device: Device): { device: Device; times: Map<string, number> } {
  const times = new Map<string, number>();
  const kernels = Object.fromEntries(
    Object.entries(device.kernels).map(([name, kernel]) => [
      name,
      (...args: unknown[]) => {
        const start = performance.now();
        (kernel as (...a: unknown[]) => void)(...args);
        times.set(name, (times.get(name) ?? 0) + performance.now() - start);
      },
    ]),
  ) as unknown as Kernels;
  const wrapped: Device = Object.create(device, { kernels: { value: kernels }, collected: { value: undefined } });
  return { device: wrapped, times };
}

function batch(V: number): HostBatch {
  const stream = Int32Array.from(uniform(randomKey(1), B * T + 1, 0, V), Math.floor);
  return { B, T, tokens: stream.slice(0, -1), targets: stream.slice(1), reset: null };
}

function setUp(device: Device) {
  const model = LanguageModel.create({}, device, 0);
  const trainer = new Trainer(model, {
    optimizer: { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, decay: 'matrices' },
    gradientClip: 1,
    checkpointBlocks: false,
    stateful: false,
    key: randomKey(0),
  });
  const batches = [batch(model.config.vocabSize)];
  let index = 0;
  const step = async (): Promise<number> => {
    const start = performance.now();
    await trainer.step(batches, 1e-3, index++);
    return performance.now() - start;
  };
  const dispose = () => {
    trainer.dispose();
    model.dispose();
  };
  return { model, trainer, step, dispose };
}

export async function benchStep(rounds = 15): Promise<void> {
  await proveTrainCurve();
  const device = createCpuDevice({ threads: 1 });
  const { device: watched, times } = profiled(device);
  const plain = setUp(device);
  const timed = setUp(watched);
  await plain.step();
  await timed.step();

  // Interleaved: one thread plain, one thread with timed kernels, two threads plain.
  const samples = { one: [] as number[], sum: [] as number[], two: [] as number[] };
  const perKernel = new Map<string, number[]>();
  for (let round = 0; round < rounds; round++) {
    createCpuDevice({ threads: 1 });
    samples.one.push(await plain.step());
    times.clear();
    await timed.step();
    samples.sum.push([...times.values()].reduce((a, b) => a + b, 0));
    for (const [name, time] of times) perKernel.set(name, [...(perKernel.get(name) ?? []), time]);
    createCpuDevice({ threads: 2 });
    samples.two.push(await plain.step());
  }
  const [one, sum, two] = [median(samples.one), median(samples.sum), median(samples.two)];
  const tokens = B * T;
  console.log(
    `\ntraining step, default model (${plain.model.parameterCount} parameters), B${B} T${T}, float32, medians of ${rounds}`,
  );
  printTable(
    ['', 'ms', 'tokens/s', 'ratio', 'asked'],
    [
      ['one thread', one.toFixed(1), ((1000 * tokens) / one).toFixed(0), '', ''],
      ['sum of its kernels', sum.toFixed(1), '', `step / sum = ${(one / sum).toFixed(3)}`, 'at most 1.3'],
      [
        'two threads',
        two.toFixed(1),
        ((1000 * tokens) / two).toFixed(0),
        `one / two = ${(one / two).toFixed(2)}`,
        'at least 1.7',
      ],
    ],
  );
  console.log('\nwhere the time goes (one thread)');
  const rows = [...perKernel].map(([name, list]) => [name, median(list)] as const).sort((a, b) => b[1] - a[1]);
  printTable(
    ['kernel', 'ms', 'share'],
    rows.slice(0, 16).map(([name, ms]) => [name, ms.toFixed(2), `${((100 * ms) / sum).toFixed(1)} %`]),
  );
  await memory(plain, device);
  plain.dispose();
  timed.dispose();
}

/** What a step holds, and that it does not grow. */
async function memory({ model, step }: ReturnType<typeof setUp>, device: Device): Promise<void> {
  const floats = model.parameters.length;
  const before = device.memory.bytes;
  const resident = process.memoryUsage().rss;
  device.memory.resetPeak();
  for (let k = 0; k < 20; k++) await step();
  const activations = device.memory.peak - before;
  console.log('\nmemory of a training step');
  printTable(
    ['part', 'bytes'],
    [
      ['parameters', formatBytes(4 * floats)],
      ['gradients', formatBytes(4 * floats)],
      ['moments of AdamW', formatBytes(8 * floats)],
      ['activations and their gradients, at most', formatBytes(activations)],
      ['held after 20 more steps, more than before', formatBytes(device.memory.bytes - before)],
      [
        'resident set of the process, growth over 20 steps',
        formatBytes(Math.max(0, process.memoryUsage().rss - resident)),
      ],
    ],
  );
}

if (process.argv[1]?.endsWith('step.ts')) await benchStep();
