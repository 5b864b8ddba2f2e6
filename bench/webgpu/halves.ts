/**
 * @file Whether products in half precision are right: operands of few bits, which float16 holds exactly, must give what
 * float32 gives, at odd sizes, for all transposes, with a bias, added to what is there; any others must come as
 * near as 11 bits allow.
 */
import type { Device } from '../../src/device/device.js';
import type { DeviceBuffer } from '../../src/device/kernels.js';

const SIZES = [
  [64, 64, 64],
  [130, 70, 33],
  [1, 200, 31],
  [257, 129, 65],
  [1664, 1920, 40],
] as const;

/** Multiples of 1/64 from -1 to 1. */
const exact = (key: number, length: number): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length }, (_, n) => (((n + key) * 7919) % 129) / 64 - 1);
const anyNumbers = (key: number, length: number): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length }, (_, n) => Math.sin((n + 1) * (key + 0.7)));

interface Problem {
  readonly sizes: readonly [M: number, N: number, K: number];
  readonly transA: boolean;
  readonly transB: boolean;
  readonly a: Float32Array;
  readonly b: Float32Array;
}

interface Check {
  readonly name: string;
  /** RMS(difference) / RMS(wanted). */
  readonly error: number;
  readonly allowed: number;
}

/** Row m of op(a) op(b) in float64. */
function productRow(m: number, { sizes: [M, N, K], transA, transB, a, b }: Problem): Float64Array {
  const row = new Float64Array(N);
  for (let k = 0; k < K; k++) {
    const left = a[transA ? k * M + m : m * K + k]!;
    for (let n = 0; n < N; n++) row[n]! += left * b[transB ? n * K + k : k * N + n]!;
  }
  return row;
}

async function check(device: Device, sizes: Problem['sizes'], which: number): Promise<Check> {
  const [M, N, K] = sizes;
  const [transA, transB] = [(which & 1) !== 0, (which & 2) !== 0];
  const [accumulate, isExact] = [(which & 4) !== 0, (which & 8) !== 0];
  const make = isExact ? exact : anyNumbers;
  const host = { a: make(1, M * K), b: make(2, K * N), bias: make(3, N), c: make(4, M * N) };
  const on = (data: Float32Array<ArrayBuffer>): DeviceBuffer => {
    const buffer = device.alloc('float', data.length);
    device.write(buffer, data);
    return buffer;
  };
  const [a, b, bias, c] = [on(host.a), on(host.b), on(host.bias), on(host.c)];
  const [lda, ldb] = [transA ? M : K, transB ? K : N];
  device.kernels.matmul(c, a, b, bias, M, N, K, transA, transB, lda, ldb, N, accumulate, 0);
  const found = await device.read(c);
  for (const buffer of [a, b, bias, c]) device.free(buffer);
  let [difference, size] = [0, 0];
  // Of many rows every 13th, which come to all places of a tile.
  for (let m = 0; m < M; m += M > 300 ? 13 : 1)
    productRow(m, { sizes, transA, transB, a: host.a, b: host.b }).forEach((sum, n) => {
      const value = sum + host.bias[n]! + (accumulate ? host.c[m * N + n]! : 0);
      difference += (Number(found[m * N + n]) - value) ** 2;
      size += value ** 2;
    });
  const name = `${M}x${N}x${K}${transA ? ' A^T' : ''}${transB ? ' B^T' : ''}${accumulate ? ' added' : ''}`;
  return { name, error: Math.sqrt(difference / size), allowed: isExact ? 1e-6 : 5e-4 };
}

/** @returns one check for each size, transpose, way to store and kind of numbers. */
export async function checkHalves(device: Device): Promise<Check[]> {
  const checks: Check[] = [];
  for (const sizes of SIZES) for (let which = 0; which < 16; which++) checks.push(await check(device, sizes, which));
  return checks;
}
