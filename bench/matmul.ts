/**
 * @file Times the matrix product on the CPU: share of the measured peak on one core, and two threads against one. Each
 * result is first compared with sums in float64. Run it alone with `npx tsx bench/matmul.ts`.
 */
import { createCpuDevice } from '../src/device/cpu/cpu.js';
import type { Device } from '../src/device/device.js';
import type { DeviceBuffer } from '../src/device/kernels.js';
import { Activation } from '../src/device/kernels.js';
import { normal, randomKey } from '../src/tensor/random.js';
import { bestTimes } from './measure.js';
import { printTable } from './table.js';
import { fasterOf, measurePeak } from './peak.js';

type Transposes = 'NN' | 'TN' | 'NT' | 'TT';

interface Shape {
  readonly M: number;
  readonly N: number;
  readonly K: number;
  readonly transposes: readonly Transposes[];
  /** Share of the peak that the project asks for. */
  readonly asked?: number;
}

const ALL: readonly Transposes[] = ['NN', 'TN', 'NT', 'TT'];
const SHAPES: readonly Shape[] = [
  { M: 2048, N: 768, K: 768, transposes: ALL, asked: 0.85 },
  { M: 512, N: 64, K: 256, transposes: ALL, asked: 0.7 },
  { M: 768, N: 768, K: 2048, transposes: ['TN'] },
  { M: 2048, N: 512, K: 256, transposes: ['NT'] },
  { M: 512, N: 256, K: 2048, transposes: ['TN'] },
  { M: 2048, N: 8, K: 1536, transposes: ['NT'] },
  { M: 8, N: 1536, K: 2048, transposes: ['TN'] },
  { M: 2048, N: 1536, K: 8, transposes: ['NN'] },
  { M: 1, N: 768, K: 768, transposes: ['NT'] },
  { M: 1, N: 4096, K: 4096, transposes: ['NT'] },
];

function setUp(device: Device, { M, N, K }: Shape, transposes: Transposes) {
  const [transA, transB] = [transposes[0] === 'T', transposes[1] === 'T'];
  const [lda, ldb] = [transA ? M : K, transB ? K : N];
  const data = [normal(randomKey(1), M * K), normal(randomKey(2), K * N)] as const;
  const [a, b, c] = [M * K, K * N, M * N].map((length) => device.alloc('float', length)) as [
    DeviceBuffer,
    DeviceBuffer,
    DeviceBuffer,
  ];
  device.write(a, data[0]);
  device.write(b, data[1]);
  const run = () => device.kernels.matmul(c, a, b, null, M, N, K, transA, transB, lda, ldb, N, false, Activation.none);

  /** RMS(error) / RMS of up to eight rows against float64. */
  const check = async (): Promise<void> => {
    device.write(c, new Float32Array(M * N).fill(NaN));
    run();
    const result = await device.read(c);
    let [error, size] = [0, 0];
    for (let m = 0; m < M; m += Math.max(1, Math.floor(M / 8))) {
      for (let n = 0; n < N; n++) {
        let sum = 0;
        for (let k = 0; k < K; k++) {
          sum +=
            Math.fround(data[0][transA ? k * M + m : m * K + k]!) *
            Math.fround(data[1][transB ? n * K + k : k * N + n]!);
        }
        error += (result[m * N + n]! - sum) ** 2;
        size += sum ** 2;
      }
    }
    const relative = Math.sqrt(error / size);
    if (!(relative < 1e-6)) throw new Error(`matmul ${M}x${N}x${K} ${transposes} is wrong: relative RMS ${relative}`);
  };
  const free = () => [a, b, c].forEach((buffer) => device.free(buffer));
  return { run, check, free };
}

export async function benchMatmul(rounds = 12): Promise<void> {
  const device = createCpuDevice({ threads: 1 });
  let peak = measurePeak(1, 0.2);
  const rows: string[][] = [];
  for (const shape of SHAPES) {
    for (const transposes of shape.transposes) {
      const { run, check, free } = setUp(device, shape, transposes);
      await check();
      const [seconds = 0, secondsOfTwo = 0] = bestTimes(run, [1, 2], rounds);
      const [one, two] = [1 / seconds, 1 / secondsOfTwo]; // calls per second
      createCpuDevice({ threads: 1 });
      peak = fasterOf(peak, measurePeak(1, 0.05));
      const { M, N, K, asked } = shape;
      const flops = 2 * M * N * K * one;
      const bytes = 4 * (M * K + K * N + M * N) * one;
      rows.push([
        `${M}x${N}x${K} ${transposes}`,
        (flops / 1e9).toFixed(1),
        (flops / peak.flops).toFixed(2),
        asked === undefined ? '' : asked.toFixed(2),
        (bytes / 1e9).toFixed(1),
        (two / one).toFixed(2),
      ]);
      free();
    }
  }
  createCpuDevice({ threads: 0 });
  console.log(
    `\nmatrix product, float32, each checked against float64; one core: peak ${(peak.flops / 1e9).toFixed(1)} GFLOP/s, ` +
      `reads ${(peak.bandwidth / 1e9).toFixed(1)} GB/s; best of ${rounds} samples`,
  );
  printTable(['M x N x K (op)', 'GFLOP/s', 'share of peak', 'asked', 'GB/s', 'two threads / one'], rows);
}

if (process.argv[1]?.endsWith('matmul.ts')) await benchMatmul();
