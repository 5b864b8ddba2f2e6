/**
 * @file Times products with stored weights on the CPU (bf16, f16, int8, int4) against the float32 product: one row of x,
 * as in decoding, against the read bandwidth; 8 and 512 rows against the arithmetic. Each result is first compared with
 * sums in float64. Run it alone with `npx tsx bench/packed.ts`.
 */
import { createCpuDevice } from '../src/device/cpu/cpu.js';
import type { Device } from '../src/device/device.js';
import type { DeviceBuffer } from '../src/device/kernels.js';
import { Activation, WeightFormat } from '../src/device/kernels.js';
import { packedRowBytes } from '../src/device/packing.js';
import { normal, randomKey } from '../src/tensor/random.js';
import { bestTimes } from './measure.js';
import { printTable } from './table.js';
import { fasterOf, measurePeak } from './peak.js';

interface Stored {
  readonly name: string;
  /** null: float32, the matrix product. */
  readonly format: WeightFormat | null;
  readonly group: number;
}

const FORMATS: readonly Stored[] = [
  { name: 'float32', format: null, group: 0 },
  { name: 'bf16', format: WeightFormat.bf16, group: 0 },
  { name: 'f16', format: WeightFormat.f16, group: 0 },
  { name: 'int8', format: WeightFormat.int8, group: 0 },
  { name: 'int8 / 128', format: WeightFormat.int8, group: 128 },
  { name: 'int4 / 128', format: WeightFormat.int4, group: 128 },
  { name: 'int4 / 32', format: WeightFormat.int4, group: 32 },
];

/** Outputs and inputs: projections of xLSTM-7B (feed-forward, vocabulary), of a small model, and odd sizes. */
const SHAPES = [
  [4096, 4096],
  [10944, 4096],
  [4096, 10944],
  [50304, 4096],
  [768, 768],
  [1001, 1237],
] as const;

/** Weights of a matrix up to which products with more rows are timed too: larger ones say nothing new. */
const MANY_ROWS_UP_TO = 2 ** 24;

/** A matrix of random weights in one format, made from the float32 one. */
function store(device: Device, floats: DeviceBuffer, O: number, I: number, { format, group }: Stored) {
  if (format === null) return { weight: floats, bytes: 4 * O * I, free: () => {} };
  const weight = device.alloc('uint8', O * packedRowBytes(format, I, group));
  device.kernels.packRows(weight, floats, O, I, format, group);
  return { weight, bytes: weight.length, free: () => device.free(weight) };
}

/** O x I normal numbers, a stretch of them again and again. */
function randomMatrix(device: Device, O: number, I: number): DeviceBuffer {
  const matrix = device.alloc('float', O * I);
  const stretch = Float32Array.from(normal(randomKey(1), Math.min(O * I, 2 ** 20 - 3)));
  for (let at = 0; at < O * I; at += stretch.length) {
    const part = stretch.subarray(0, Math.min(stretch.length, O * I - at));
    device.write(device.view(matrix, at, part.length), part);
  }
  return matrix;
}

/** The call that is timed. */
function productOf(device: Device, stored: Stored, weight: DeviceBuffer, N: number, O: number, I: number) {
  const [x, y] = [device.alloc('float', N * I), device.alloc('float', N * O)];
  device.write(x, Float32Array.from(normal(randomKey(2), N * I)));
  const { format, group } = stored;
  const run =
    format === null
      ? () => device.kernels.matmul(y, x, weight, null, N, O, I, false, true, I, I, O, false, Activation.none)
      : () => device.kernels.linearPacked(y, x, weight, null, N, O, I, format, group);
  return { run, x, y, free: () => [x, y].forEach((buffer) => device.free(buffer)) };
}

/** @throws Error when the first and last rows of weights give something else than float64 sums of what is stored. */
async function prove(device: Device, stored: Stored, weight: DeviceBuffer, N: number, O: number, I: number) {
  const { run, x, y, free } = productOf(device, stored, weight, N, O, I);
  const rowBytes = stored.format === null ? I : packedRowBytes(stored.format, I, stored.group);
  const floats = device.alloc('float', I);
  device.write(y, new Float32Array(N * O).fill(NaN));
  run();
  const [X, Y] = [await device.read(x), await device.read(y)];
  let [error, size] = [0, 0];
  for (const o of [0, 1, 2, Math.floor(O / 2), O - 2, O - 1]) {
    const row = device.view(weight, o * rowBytes, rowBytes);
    if (stored.format === null) device.kernels.copy(floats, row, I);
    else device.kernels.unpackRows(floats, row, 1, I, stored.format, stored.group);
    const w = await device.read(floats);
    for (let n = 0; n < N; n += Math.ceil(N / 8)) {
      let sum = 0;
      for (let i = 0; i < I; i++) sum += w[i]! * X[n * I + i]!;
      error += (Y[n * O + o]! - sum) ** 2;
      size += sum ** 2;
    }
  }
  device.free(floats);
  free();
  const relative = Math.sqrt(error / size);
  if (!(relative < 1e-6)) throw new Error(`${stored.name} ${N}x${O}x${I} is wrong: relative RMS ${relative}`);
}

export async function benchPacked(rounds = 12, shapes: readonly (readonly [number, number])[] = SHAPES): Promise<void> {
  const device = createCpuDevice({ threads: 2 });
  let [one, two] = [measurePeak(1, 0.2), measurePeak(2, 0.2)];
  const single: string[][] = [];
  const several: string[][] = [];
  for (const [O, I] of shapes) {
    const floats = randomMatrix(device, O, I);
    const float32 = new Map<number, number>();
    for (const stored of FORMATS) {
      createCpuDevice({ threads: 2 });
      const { weight, bytes, free } = store(device, floats, O, I, stored);
      for (const N of [1, 8, 512]) {
        if (N > 1 && O * I > MANY_ROWS_UP_TO) continue;
        await prove(device, stored, weight, N, O, I);
        const { run, free: freeProduct } = productOf(device, stored, weight, N, O, I);
        const [alone = 0, both = 0] = bestTimes(run, [1, 2], N === 512 ? Math.ceil(rounds / 4) : rounds);
        freeProduct();
        createCpuDevice({ threads: 2 });
        [one, two] = [fasterOf(one, measurePeak(1, 0.04)), fasterOf(two, measurePeak(2, 0.04))];
        const size = `${O}x${I}`;
        if (stored.format === null) float32.set(N, alone);
        if (N === 1) {
          const [rate, rateOfTwo] = [bytes / alone, bytes / both];
          single.push([
            `${size} ${stored.name}`,
            (rate / 1e9).toFixed(1),
            (rate / one.bandwidth).toFixed(2),
            (rateOfTwo / 1e9).toFixed(1),
            (rateOfTwo / two.bandwidth).toFixed(2),
            (float32.get(N)! / alone).toFixed(2),
          ]);
        } else {
          const flops = (2 * N * O * I) / alone;
          several.push([
            `${N} x ${size} ${stored.name}`,
            (flops / 1e9).toFixed(1),
            (flops / one.flops).toFixed(2),
            (float32.get(N)! / alone).toFixed(2),
            (alone / both).toFixed(2),
          ]);
        }
      }
      free();
    }
    device.free(floats);
  }
  createCpuDevice({ threads: 0 });
  const gigabytes = [one, two].map(({ bandwidth }) => (bandwidth / 1e9).toFixed(1));
  console.log(
    `\nproducts with stored weights, one row of x, each checked against float64; reads ${gigabytes[0]} GB/s on one core, ` +
      `${gigabytes[1]} on two; best of ${rounds} samples`,
  );
  printTable(['weights', 'GB/s', 'share', 'two threads', 'share', 'times as fast as float32'], single);
  console.log(`\nthe same with more rows, one core: peak ${(one.flops / 1e9).toFixed(1)} GFLOP/s`);
  printTable(['rows x weights', 'GFLOP/s', 'share of peak', 'times as fast as float32', 'two threads / one'], several);
}

if (process.argv[1]?.endsWith('packed.ts')) {
  const chosen = process.argv.slice(2).map((size) => size.split('x').map(Number) as [number, number]);
  await benchPacked(12, chosen.length > 0 ? chosen : SHAPES);
}
