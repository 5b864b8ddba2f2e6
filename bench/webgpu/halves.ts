/**
 * @file Whether products in half precision are right: operands of few bits, which float16 holds exactly, must give what
 * float32 gives, at odd sizes, for all transposes, with a bias, added to what is there; any others must come as
 * near as 11 bits allow.
 */
import type { Device } from '../../src/device/device.js';
import type { DeviceBuffer } from '../../src/device/kernels.js';
import { matmulError } from './cases.js';

const SIZES = [
  [64, 64, 64],
  [130, 70, 33],
  [1, 200, 31],
  [257, 129, 65],
  [1664, 1920, 40],
] as const;

/** A loop, since `Float32Array.from` with a function takes several times as long for millions of numbers. */
function filled(length: number, value: (n: number) => number): Float32Array<ArrayBuffer> {
  const data = new Float32Array(length);
  for (let n = 0; n < length; n++) data[n] = value(n);
  return data;
}

/** Multiples of 1/64 from -1 to 1. */
const exact = (key: number, length: number) => filled(length, (n) => (((n + key) * 7919) % 129) / 64 - 1);
/** As good as random from -1 to 1, so that the sums of a product do not cancel. */
const anyNumbers = (key: number, length: number) =>
  filled(length, (n) => {
    const x = Math.sin(12.9898 * n + 78.233 * key) * 43758.5453;
    return 2 * (x - Math.floor(x)) - 1;
  });

interface Check {
  readonly name: string;
  /** RMS(difference) / RMS(wanted). */
  readonly error: number;
  readonly allowed: number;
}

const transposed = (data: Float32Array, rows: number, columns: number) =>
  filled(rows * columns, (n) => data[(n % rows) * columns + Math.floor(n / rows)]!);

async function check(device: Device, [M, N, K]: (typeof SIZES)[number], which: number): Promise<Check> {
  const [transA, transB] = [(which & 1) !== 0, (which & 2) !== 0];
  const [accumulate, isExact] = [(which & 4) !== 0, (which & 8) !== 0];
  const make = isExact ? exact : anyNumbers;
  const [a, b, bias, before] = [make(1, M * K), make(2, K * N), make(3, N), make(4, M * N)];
  const on = (data: Float32Array<ArrayBuffer>): DeviceBuffer => {
    const buffer = device.alloc('float', data.length);
    device.write(buffer, data);
    return buffer;
  };
  const operands = [on(transA ? transposed(a, M, K) : a), on(transB ? transposed(b, K, N) : b), on(bias)] as const;
  const c = on(before);
  const [lda, ldb] = [transA ? M : K, transB ? K : N];
  device.kernels.matmul(c, ...operands, M, N, K, transA, transB, lda, ldb, N, accumulate, 0);
  const found = await device.read(c);
  for (const buffer of [...operands, c]) device.free(buffer);
  // What lies in c besides the product is taken off in float64.
  const product = new Float64Array(M * N);
  for (let n = 0; n < product.length; n++) {
    product[n] = Number(found[n]) - bias[n % N]! - (accumulate ? before[n]! : 0);
  }
  // Of many rows every 13th, which come to all places of a tile.
  const error = matmulError({ M, N, K, a, b }, product, M > 300 ? 13 : 1);
  const name = `${M}x${N}x${K}${transA ? ' A^T' : ''}${transB ? ' B^T' : ''}${accumulate ? ' added' : ''}`;
  return { name, error, allowed: isExact ? 1e-6 : 5e-4 };
}

/** @returns one check for each size, transpose, way to store and kind of numbers. */
export async function checkHalves(device: Device): Promise<Check[]> {
  const checks: Check[] = [];
  for (const sizes of SIZES) for (let which = 0; which < 16; which++) checks.push(await check(device, sizes, which));
  return checks;
}
