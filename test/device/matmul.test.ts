/**
 * @file The matrix product of the cpu device against sums in float64: shapes on both sides of each border between its
 * ways of working, all transposes, gaps between rows, every activation, every instruction set; and the same bits with
 * any number of threads.
 */
import { afterAll, describe, expect, test } from 'vitest';
import type { Device } from '../../src/device/device.js';
import { Activation } from '../../src/device/kernels.js';
import type { DeviceBuffer } from '../../src/device/kernels.js';
import { activate } from '../../src/device/reference/functions.js';
import { relativeRms } from '../support/compare.js';
import { cpuOrReason } from '../support/cpu.js';
import { cpuWith, usableIsas } from '../support/isas.js';

interface Shape {
  readonly M: number;
  readonly N: number;
  readonly K: number;
  readonly transA: boolean;
  readonly transB: boolean;
  /** Floats between the end of a row and the beginning of the next, for a, b and c. */
  readonly gap: number;
  readonly hasBias: boolean;
  readonly accumulate: boolean;
  readonly activation: Activation;
}

const PLAIN = { transA: false, transB: false, gap: 0, hasBias: false, accumulate: false, activation: Activation.none };
const TRANSPOSES = [false, true].flatMap((transA) => [false, true].map((transB) => ({ transA, transB })));

const streams = new Map<number, Float32Array>();

/** A fixed stream of floats in -1..1 (a linear congruential generator: nothing here needs better numbers). */
function noise(length: number, seed: number): Float32Array {
  const known = streams.get(seed);
  if (known !== undefined && known.length >= length) return known.subarray(0, length);
  let state = (seed * 2654435761) >>> 0;
  const stream = new Float32Array(length);
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    stream[i] = state / 2 ** 31 - 1;
  }
  streams.set(seed, stream);
  return stream;
}

const nameOf = ({ M, N, K, transA, transB, ...rest }: Shape): string =>
  `${M}x${N}x${K} ${transA ? 'T' : 'N'}${transB ? 'T' : 'N'} ${JSON.stringify(rest)}`;

function operands(shape: Shape) {
  const { M, N, K, transA, transB, gap } = shape;
  const [lda, ldb, ldc] = [(transA ? M : K) + gap, (transB ? K : N) + gap, N + gap];
  return {
    lda,
    ldb,
    ldc,
    a: noise((transA ? K : M) * lda, 1),
    b: noise((transB ? N : K) * ldb, 2),
    c: noise(M * ldc, 3),
    bias: noise(N, 4),
  };
}

/** What c must become, in float64, gaps untouched. */
function expected(shape: Shape): Float64Array {
  const { M, N, K, transA, transB, hasBias, accumulate, activation } = shape;
  const { lda, ldb, ldc, a, b, c, bias } = operands(shape);
  const result = Float64Array.from(c);
  for (let m = 0; m < M; m++) {
    for (let n = 0; n < N; n++) {
      let sum = hasBias ? bias[n]! : 0;
      for (let k = 0; k < K; k++)
        sum += a[transA ? k * lda + m : m * lda + k]! * b[transB ? n * ldb + k : k * ldb + n]!;
      result[m * ldc + n] = accumulate ? c[m * ldc + n]! + sum : activate(sum, activation);
    }
  }
  return result;
}

async function run(device: Device, shape: Shape): Promise<Float32Array> {
  const { M, N, K, transA, transB, hasBias, accumulate, activation } = shape;
  const { lda, ldb, ldc, ...data } = operands(shape);
  const buffers: DeviceBuffer[] = [data.c, data.a, data.b, data.bias].map((values) => {
    const buffer = device.alloc('float', values.length);
    device.write(buffer, values);
    return buffer;
  });
  const [c, a, b, bias] = buffers as [DeviceBuffer, DeviceBuffer, DeviceBuffer, DeviceBuffer];
  device.kernels.matmul(c, a, b, hasBias ? bias : null, M, N, K, transA, transB, lda, ldb, ldc, accumulate, activation);
  const result = (await device.read(c)) as Float32Array;
  for (const buffer of buffers) device.free(buffer);
  return result;
}

/** Sizes around 4 to 12 columns and 32 rows (sums along k), 12 and 24 rows (tiles), 256 (depth) and vectors. */
const SIZES: readonly (readonly [number, number, number])[] = [
  [1, 1, 1],
  [1, 17, 33],
  [1, 263, 70],
  [2, 8, 256],
  [3, 5, 7],
  [4, 131, 64],
  [7, 9, 257],
  [8, 40, 100],
  [9, 40, 100],
  [13, 31, 12],
  [15, 33, 130],
  [16, 32, 257],
  [17, 1, 65],
  [25, 8, 300],
  [37, 9, 15],
  [33, 13, 70],
  [97, 15, 33],
  [100, 100, 100],
  [131, 3, 520],
  [5, 0, 3],
  [0, 5, 3],
  [6, 7, 0],
];
/**
 * Beyond 256 rows, 768 columns and a depth of 768: blocks, packed; without transposes only from 2^21 elements on. One row
 * with more than 2^20 elements of b: streams.
 */
const LARGE: readonly (readonly [number, number, number])[] = [
  [1, 2051, 530],
  [271, 801, 40],
  [99, 50, 1601],
  [1300, 1615, 9],
];

/** Of many columns, whose strips are multiplied in several steps of k. */
const WIDE: readonly (readonly [number, number, number])[] = [
  [70, 450, 397],
  [35, 1133, 131],
];

/**
 * Threads work by themselves on a few of the columns: more than one can pack at a time, with rows for two to take, and so
 * few that several threads share them.
 */
const APART: readonly (readonly [number, number, number])[] = [
  [40, 1920, 770],
  [33, 20011, 256],
  [330, 290, 900],
];

interface Link extends Pick<Shape, 'M' | 'N' | 'K' | 'transA' | 'transB'> {
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly bias?: number;
  readonly accumulate?: boolean;
  readonly lda?: number;
  readonly ldc?: number;
}

const CHAIN = 1 << 20;
const [M, K] = [70, 300];
const [A, A2, B, C] = [0, 30_000, 70_000, 520_000];

/** Products one after the other: maps of one matrix, of two, and such as need what one before them writes. */
const CHAINS: Readonly<Record<string, readonly Omit<Link, 'transA' | 'transB'>[]>> = {
  'maps of one matrix': [
    { M, N: 450, K, a: A, b: B, c: C, bias: 7 },
    { M, N: 3, K, a: A, b: B + 450 * K, c: C + 450 * M },
    { M, N: 97, K, a: A, b: B + 453 * K, c: C + 453 * M, bias: 11, accumulate: true },
    { M, N: 801, K, a: A, b: B + 550 * K, c: C + 550 * M },
  ],
  'maps of two matrices': [
    { M, N: 500, K, a: A, b: B, c: C },
    { M, N: 401, K, a: A2, b: B + 500 * K, c: C + 500 * M },
    { M, N: 300, K, a: A, b: B + 901 * K, c: C + 901 * M },
  ],
  'rows of one stretch, near and apart': [
    { M, N: 500, K, a: A, b: B, c: C },
    { M, N: 401, K, a: A, b: B + 500 * K, c: C + 500 * M, lda: K + 77 },
  ],
  'a is what the one before writes': [
    { M, N: 500, K, a: A, b: B, c: A2 },
    { M, N: 401, K, a: A2, b: B + 500 * K, c: C },
  ],
  'b, bias and c are what the ones before write': [
    { M, N: 500, K, a: A, b: B, c: C },
    { M, N: 480, K, a: A, b: C - 999, c: C + 500 * K },
    { M, N: 500, K, a: A, b: B, bias: C + 500 * K + 3, c: C + 3000 * M },
    { M, N: 500, K, a: A, b: B + 99, c: C + 3000 * M, accumulate: true },
  ],
  'what the ones before read is written': [
    { M, N: 500, K, a: A, b: B, c: C },
    { M, N: 401, K, a: A2, b: B + 500 * K, c: A },
    { M, N: 500, K, a: A2, b: B, c: B + 500 * K },
  ],
  'columns of one matrix': [
    { M, N: 500, K, a: A, b: B, c: C, ldc: 901 },
    { M, N: 401, K, a: A, b: B + 500 * K, c: C + 500, ldc: 901 },
  ],
};

/** So deep that k is cut into parts, which are added to c; several threads cut the rows of a part too. */
const DEEP: readonly (readonly [number, number, number])[] = [
  [99, 50, 2077],
  [61, 131, 4099],
];

const shapes: Shape[] = [
  ...SIZES.flatMap(([M, N, K], i) =>
    TRANSPOSES.flatMap((transposes, j) => [
      { ...PLAIN, M, N, K, ...transposes },
      { ...PLAIN, M, N, K, ...transposes, gap: 1 + (i % 5), hasBias: true, accumulate: (i + j) % 2 === 0 },
    ]),
  ),
  ...Object.values(Activation).flatMap((activation) =>
    [
      [1, 37, 20],
      [9, 70, 33],
      [50, 6, 40],
      [100, 45, 19],
    ].map(([M, N, K]) => ({ ...PLAIN, M: M!, N: N!, K: K!, transB: true, gap: 3, hasBias: true, activation })),
  ),
  ...LARGE.flatMap(([M, N, K]) =>
    TRANSPOSES.map((transposes) => ({ ...PLAIN, M, N, K, ...transposes, gap: 2, hasBias: true })),
  ),
  ...WIDE.flatMap(([M, N, K]) =>
    TRANSPOSES.flatMap((transposes) =>
      [false, true].map((accumulate) => ({ ...PLAIN, M, N, K, ...transposes, gap: 3, hasBias: true, accumulate })),
    ),
  ),
  ...DEEP.flatMap(([M, N, K]) =>
    TRANSPOSES.flatMap((transposes) =>
      [false, true].map((accumulate) => ({ ...PLAIN, M, N, K, ...transposes, gap: 3, accumulate })),
    ),
  ),
];

const isas = usableIsas();
afterAll(() => void (isas.length > 0 && cpuWith('auto')));

describe.skipIf(isas.length === 0)('matmul on the cpu device', () => {
  const solved = shapes.map((shape) => ({ shape, right: expected(shape) }));

  test.each(isas)('is right: %s', async (isa) => {
    const device = cpuWith(isa);
    for (const { shape, right } of solved) {
      // A sum of 4,099 products in float32 is off by some sqrt(4099) roundings of 6e-8 at the very worst.
      expect(relativeRms(await run(device, shape), right), nameOf(shape)).toBeLessThan(1e-6);
    }
  });

  test.each(isas)('leaves the gaps between rows alone: %s', async (isa) => {
    const device = cpuWith(isa);
    for (const { shape, right } of solved.filter(({ right }) => right.length < 1e5)) {
      const ldc = shape.N + shape.gap;
      const gaps = (data: ArrayLike<number>) => Array.from(data).filter((_, i) => i % ldc >= shape.N);
      if (shape.gap > 0) expect(gaps(await run(device, shape)), nameOf(shape)).toEqual(gaps(right));
    }
  });

  test.each(isas)('gives the same bits with 1, 2 and 5 threads: %s', async (isa) => {
    for (const { shape } of solved) {
      const alone = Buffer.from((await run(cpuWith(isa, 1), shape)).buffer);
      for (const threads of [2, 5]) {
        const together = Buffer.from((await run(cpuWith(isa, threads), shape)).buffer);
        expect(alone.equals(together), `${nameOf(shape)} with ${threads} threads`).toBe(true);
      }
    }
  });

  test.each(isas)('gives the same bits with 1, 2 and 5 threads that pack for themselves: %s', async (isa) => {
    for (const [M, N, K] of APART) {
      for (const transposes of TRANSPOSES) {
        const shape = { ...PLAIN, M, N, K, ...transposes, gap: 1, hasBias: true, activation: Activation.silu };
        const alone = Buffer.from((await run(cpuWith(isa, 1), shape)).buffer);
        for (const threads of [2, 5]) {
          const together = Buffer.from((await run(cpuWith(isa, threads), shape)).buffer);
          expect(alone.equals(together), `${nameOf(shape)} with ${threads} threads`).toBe(true);
        }
      }
    }
  });

  /** Runs products after each other in one stretch of memory; offsets, in floats, are where their matrices begin. */
  async function chain(device: Device, collects: boolean, products: readonly Link[]): Promise<Float32Array> {
    const memory = device.alloc('float', CHAIN);
    device.write(memory, noise(CHAIN, 6));
    const at = (offset: number, length: number): DeviceBuffer => device.view(memory, offset, length);
    const body = () => {
      for (const { M, N, K, transA, transB, a, b, c, bias, accumulate = false, ...rest } of products) {
        const { lda = transA ? M : K, ldc = N } = rest;
        const matrices = [at(c, (M - 1) * ldc + N), at(a, transA ? K * M : (M - 1) * lda + K), at(b, K * N)] as const;
        const row = bias === undefined ? null : at(bias, N);
        device.kernels.matmul(
          ...matrices,
          row,
          M,
          N,
          K,
          transA,
          transB,
          lda,
          transB ? K : N,
          ldc,
          accumulate,
          Activation.none,
        );
      }
    };
    if (collects) device.collected!(body);
    else body();
    const result = (await device.read(memory)) as Float32Array;
    device.free(memory);
    return result;
  }

  test.each(isas)('run beside each other, has the bits of one after the other: %s', async (isa) => {
    for (const [name, products] of Object.entries(CHAINS)) {
      for (const transposes of TRANSPOSES) {
        const links = products.map((product) => ({ ...transposes, ...product }));
        const alone = await chain(cpuWith(isa, 1), false, links);
        for (const threads of [1, 2, 5]) {
          const together = await chain(cpuWith(isa, threads), true, links);
          const same = Buffer.from(alone.buffer).equals(Buffer.from(together.buffer));
          expect(same, `${name} ${JSON.stringify(transposes)} with ${threads} threads`).toBe(true);
        }
      }
    }
  });

  test('lets NaN and infinities through', async () => {
    const device = cpuWith('auto');
    for (const [M, N, K] of [
      [1, 20, 30],
      [20, 5, 30],
      [40, 50, 30],
    ] as const) {
      const [a, b, c] = [M * K, K * N, M * N].map((length) => device.alloc('float', length)) as [
        DeviceBuffer,
        DeviceBuffer,
        DeviceBuffer,
      ];
      const left = noise(M * K, 5).map(Math.abs);
      [left[0], left[M * K - 1]] = [NaN, Infinity];
      device.write(a, left);
      device.write(b, new Float32Array(K * N).fill(1));
      device.kernels.matmul(c, a, b, null, M, N, K, false, false, K, N, N, false, Activation.none);
      const result = (await device.read(c)) as Float32Array;
      expect(result.subarray(0, N).every(Number.isNaN)).toBe(true);
      if (M > 1) expect(result.subarray((M - 1) * N).every((x) => x === Infinity)).toBe(true);
      if (M > 2) expect(result.subarray(N, (M - 1) * N).every(Number.isFinite)).toBe(true);
    }
  });

  test('says what is wrong with its arguments', () => {
    const device = cpuOrReason() as Device;
    const x = device.alloc('float', 64);
    const call = (lda: number, ldb: number, ldc: number, accumulate: boolean, activation: number) => () =>
      device.kernels.matmul(x, x, x, null, 4, 4, 4, false, false, lda, ldb, ldc, accumulate, activation as Activation);
    expect(call(3, 4, 4, false, 0)).toThrow('matmul: lda must be at least K = 4, got 3');
    expect(call(4, 3, 4, false, 0)).toThrow('matmul: ldb must be at least N = 4, got 3');
    expect(call(4, 4, 3, false, 0)).toThrow('matmul: ldc must be at least N = 4, got 3');
    expect(call(4, 4, 4, false, 12)).toThrow('matmul: activation must be 0 (none) to 11 (sine), got 12');
    expect(call(4, 4, 4, true, 1)).toThrow('matmul: with accumulate the activation must be none (0), got 1');
    device.free(x);
  });
});
