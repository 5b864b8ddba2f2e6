/**
 * @file Times the recurrent cells on the CPU, forward and backward: share of the measured peak on one core, and two
 * threads against one. Each result is first compared with the float64 reference. Run it alone with
 * `npx tsx bench/recurrent.ts`.
 */
import { createCpuDevice } from '../src/device/cpu/cpu.js';
import type { Device } from '../src/device/device.js';
import type { DeviceBuffer } from '../src/device/kernels.js';
import { InputGate, LSTM_SAVED, SLSTM_SAVED } from '../src/device/kernels.js';
import { createReferenceDevice } from '../src/device/reference/reference.js';
import { normal, randomKey } from '../src/tensor/random.js';
import { bestTimes } from './measure.js';
import { printTable } from './table.js';
import { fasterOf, measurePeak } from './peak.js';

/** What is timed: one kernel at one size. */
interface Bench {
  readonly name: string;
  /** Floating-point operations of a call, a multiply-add counting as two. */
  readonly flops: number;
  /** Bytes of state that a call reads and writes, where memory is the limit and not arithmetic. */
  readonly bytes?: number;
  /** Share of the peak that the project asks for. */
  readonly asked?: number;
  run(): void;
}

/** Kernels of one cell at one size on one device, over memory of its own. */
interface Setup {
  readonly benches: readonly Bench[];
  /** Numbers of the first sequence that must agree between devices, by name; for B = 1 they are all there are. */
  results(): Promise<ReadonlyMap<string, ArrayLike<number>>>;
  free(): void;
}

const EPS = 1e-6;

/** Device memory by name, the same random numbers on every device. */
function memory(device: Device) {
  const held = new Map<string, DeviceBuffer>();
  const hold = (name: string, data: Float64Array): DeviceBuffer => {
    const buffer = device.alloc('float', data.length);
    device.write(buffer, Float32Array.from(data));
    held.set(name, buffer);
    return buffer;
  };
  const seed = (name: string): number => [...name].reduce((sum, letter) => sum * 31 + letter.codePointAt(0)!, 7) >>> 0;
  return {
    random: (name: string, length: number, scale = 1, offset = 0): DeviceBuffer =>
      hold(
        name,
        Float64Array.from(normal(randomKey(seed(name)), length), (x) => Math.fround(x * scale + offset)),
      ),
    zeros: (name: string, length: number): DeviceBuffer => hold(name, new Float64Array(length)),
    /** The first `length` numbers of each of these. */
    read: async (names: Readonly<Record<string, number>>): Promise<Map<string, ArrayLike<number>>> => {
      const results = new Map<string, ArrayLike<number>>();
      for (const [name, length] of Object.entries(names)) {
        results.set(name, (await device.read(held.get(name)!)).subarray(0, length));
      }
      return results;
    },
    clear: (names: readonly string[]): void =>
      names.forEach((name) => device.kernels.fill(held.get(name)!, 0, held.get(name)!.length)),
    free: (): void => held.forEach((buffer) => device.free(buffer)),
  };
}

/** sLSTM or LSTM: products of h with the matrix and nothing else are counted, 8 B T NH DH^2 forward, twice that back. */
function recurrentSetup(device: Device, cell: 'slstm' | 'lstm', B: number, T: number, NH: number, DH: number): Setup {
  const { random, zeros, read, clear, free } = memory(device);
  const [units, W] = [B * T * NH * DH, NH * DH];
  const states = cell === 'slstm' ? 4 : 2;
  const gates = [random('i', units), random('f', units, 1, 1), random('z', units), random('o', units)] as const;
  const recurrent = random('recurrent', NH * 4 * DH * DH, 0.7 / Math.sqrt(DH));
  const bias = random('bias', 4 * W, 0.5);
  const [h, dh] = [zeros('h', units), random('dh', units)];
  const stateOut = zeros('stateOut', states * B * W);
  const saved = zeros('saved', units * (cell === 'slstm' ? SLSTM_SAVED : LSTM_SAVED));
  const gradients = ['di', 'df', 'dz', 'do', 'drecurrent', 'dbias'];
  const dgates = gradients.slice(0, 4).map((name) => zeros(name, units)) as unknown as typeof gates;
  const [drecurrent, dbias] = [zeros('drecurrent', NH * 4 * DH * DH), zeros('dbias', 4 * W)];

  const { kernels } = device;
  const forward = (keep: DeviceBuffer | null): void =>
    kernels[`${cell}Forward`](h, stateOut, keep, ...gates, recurrent, bias, null, null, B, T, NH, DH);
  const backward = (): void =>
    kernels[`${cell}Backward`](
      ...([...dgates, drecurrent, dbias, null, dh, null] as const),
      ...([h, saved, recurrent, null, null, B, T, NH, DH] as const),
    );
  const size = `${cell} B${B} T${T} ${NH}x${DH}`;
  const flops = 8 * B * T * NH * DH * DH;
  const asked = cell === 'slstm' && NH === 4 && DH === 64 ? { asked: 0.35 } : {};
  return {
    benches: [
      { name: `${size} forward`, flops, ...asked, run: () => forward(null) },
      { name: `${size} forward, saving`, flops, run: () => forward(saved) },
      { name: `${size} backward`, flops: 2 * flops, run: backward },
    ],
    async results() {
      clear(gradients);
      forward(saved);
      backward();
      const first = units / B;
      const ofAll = B === 1 ? { drecurrent: NH * 4 * DH * DH, dbias: 4 * W } : {};
      return read({ h: first, di: first, df: first, dz: first, do: first, ...ofAll });
    },
    free,
  };
}

/**
 * mLSTM: the products of the chunkwise form are counted, per chunk and head 4 L DK DV + 2 L^2 (DK + DV) forward and
 * 10 L DK DV + 2 L^2 (3 DK + 2 DV) back, as if nothing above the diagonal were skipped.
 */
function mlstmSetup(device: Device, B: number, T: number, NH: number, DK: number, DV: number, L: number): Setup {
  const { random, zeros, read, clear, free } = memory(device);
  const rows = B * T * NH;
  const inputs = [
    ...[random('q', rows * DK), random('k', rows * DK), random('v', rows * DV)],
    ...[random('i', rows), random('f', rows, 1, 3)],
  ] as unknown as readonly [DeviceBuffer, DeviceBuffer, DeviceBuffer, DeviceBuffer, DeviceBuffer];
  const [h, m, denominator] = [zeros('h', rows * DV), zeros('m', rows), zeros('denominator', rows)];
  const gradients = ['dq', 'dk', 'dv', 'di', 'df'];
  const widths = [DK, DK, DV, 1, 1];
  const dinputs = gradients.map((name, k) => zeros(name, rows * widths[k]!)) as unknown as typeof inputs;
  const dh = random('dh', rows * DV);
  const options = [B, T, NH, DK, DV, L, EPS, InputGate.exponential, true] as const;

  const forward = (): void =>
    device.kernels.mlstmForward(h, m, denominator, null, null, null, ...inputs, null, null, null, null, ...options);
  const backward = (): void =>
    device.kernels.mlstmBackward(
      ...([...dinputs, null, null, null, dh, null, null, null] as const),
      ...([...inputs, null, null, null, null, h, m, denominator] as const),
      ...options,
    );
  const chunks = (B * NH * T) / L;
  const size = `mlstm B${B} T${T} ${NH}x${DK} L${L}`;
  const asked = NH === 4 && DK === 64 ? { asked: 0.55 } : {};
  return {
    benches: [
      { name: `${size} forward`, flops: chunks * (4 * L * DK * DV + 2 * L * L * (DK + DV)), ...asked, run: forward },
      { name: `${size} backward`, flops: chunks * (10 * L * DK * DV + 2 * L * L * (3 * DK + 2 * DV)), run: backward },
    ],
    async results() {
      clear(gradients);
      forward();
      backward();
      const first = rows / B;
      const lengths = Object.fromEntries(gradients.map((name, k) => [name, first * widths[k]!]));
      return read({ h: first * DV, denominator: first, ...lengths });
    },
    free,
  };
}

/** The mLSTM step: C is read and written once, which is the limit. */
function stepSetup(device: Device, B: number, NH: number, DK: number, DV: number): Setup {
  const { random, zeros, read, free } = memory(device);
  const heads = B * NH;
  const [q, k, v] = [random('q', heads * DK), random('k', heads * DK), random('v', heads * DV)];
  const [i, f] = [random('i', heads), random('f', heads, 1, 3)];
  const [C, n, m] = [random('C', heads * DK * DV), random('n', heads * DK), random('m', heads)];
  const h = zeros('h', heads * DV);
  const run = (): void =>
    device.kernels.mlstmStep(h, C, n, m, q, k, v, i, f, C, n, m, B, NH, DK, DV, EPS, InputGate.exponential, true);
  const elements = heads * DK * DV;
  return {
    benches: [{ name: `mlstm step B${B} ${NH}x${DK}x${DV}`, flops: 5 * elements, bytes: 8 * elements, run }],
    async results() {
      run();
      return read({ h: NH * DV, C: NH * DK * DV, n: NH * DK });
    },
    free,
  };
}

/** The sizes, as makers over a device and a batch size; the reference computes one sequence of the batch. */
const SIZES: readonly { readonly B: number; make(device: Device, B: number): Setup }[] = [
  { B: 8, make: (device, B) => recurrentSetup(device, 'slstm', B, 256, 4, 64) },
  { B: 8, make: (device, B) => recurrentSetup(device, 'slstm', B, 256, 2, 128) },
  { B: 8, make: (device, B) => recurrentSetup(device, 'lstm', B, 256, 4, 64) },
  { B: 8, make: (device, B) => mlstmSetup(device, B, 512, 4, 64, 64, 64) },
  { B: 8, make: (device, B) => mlstmSetup(device, B, 512, 2, 128, 128, 64) },
  { B: 2, make: (device, B) => mlstmSetup(device, B, 256, 2, 384, 384, 64) },
  { B: 1, make: (device, B) => stepSetup(device, B, 4, 64, 64) },
  { B: 1, make: (device, B) => stepSetup(device, B, 4, 512, 512) },
];

/** @throws Error when a result of the first sequence is off by more than 1e-5 (RMS(error) / RMS(reference)). */
async function prove(setup: Setup, expected: ReadonlyMap<string, ArrayLike<number>>): Promise<void> {
  for (const [name, values] of await setup.results()) {
    const right = expected.get(name)!;
    let [error, size] = [0, 0];
    for (let e = 0; e < right.length; e++) {
      error += (values[e]! - right[e]!) ** 2;
      size += right[e]! ** 2;
    }
    const relative = Math.sqrt(error / size);
    if (!(relative < 1e-5)) throw new Error(`${setup.benches[0]!.name}: ${name} is wrong, relative RMS ${relative}`);
  }
}

export async function benchRecurrent(rounds = 12): Promise<void> {
  const device = createCpuDevice({ threads: 1 });
  let peak = measurePeak(1, 0.2);
  const timed: { bench: Bench; one: number; two: number }[] = [];
  for (const { B, make } of SIZES) {
    const reference = make(createReferenceDevice(), 1);
    const expected = await reference.results();
    reference.free();
    // One sequence alone has gradients of the parameters to compare; then the very call that is timed.
    const single = make(device, 1);
    await prove(single, expected);
    const setup = B === 1 ? single : make(device, B);
    if (B > 1) {
      await prove(setup, expected);
      single.free();
    }
    for (const bench of setup.benches) {
      const [one = 0, two = 0] = bestTimes(bench.run, [1, 2], rounds);
      createCpuDevice({ threads: 1 });
      peak = fasterOf(peak, measurePeak(1, 0.05));
      timed.push({ bench, one, two });
    }
    setup.free();
  }
  createCpuDevice({ threads: 0 });
  console.log(
    `\nrecurrent cells, float32, each checked against float64; one core: peak ${(peak.flops / 1e9).toFixed(1)} GFLOP/s, ` +
      `reads ${(peak.bandwidth / 1e9).toFixed(1)} GB/s; best of ${rounds} samples`,
  );
  const rows = timed.map(({ bench: { name, flops, bytes, asked }, one, two }) => [
    name,
    (one * 1e3).toFixed(3),
    (flops / one / 1e9).toFixed(1),
    (flops / one / peak.flops).toFixed(2),
    asked === undefined ? '' : asked.toFixed(2),
    bytes === undefined ? '' : (bytes / one / 1e9).toFixed(1),
    (one / two).toFixed(2),
  ]);
  printTable(['cell', 'ms', 'GFLOP/s', 'share of peak', 'asked', 'GB/s', 'two threads / one'], rows);
}

if (process.argv[1]?.endsWith('recurrent.ts')) await benchRecurrent();
