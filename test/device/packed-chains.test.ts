/**
 * @file Maps by stored weights that are collected one after the other on the cpu: those that may run beside each other
 * (native/common/products.h) have the bits of one after the other, and those that may not do not.
 */
import { afterAll, describe, expect, test } from 'vitest';
import type { Device } from '../../src/device/device.js';
import type { DeviceBuffer } from '../../src/device/kernels.js';
import { WeightFormat } from '../../src/device/kernels.js';
import { packedRowBytes } from '../../src/device/packing.js';
import { normal, randomKey } from '../../src/tensor/random.js';
import { cpuWith, usableIsas } from '../support/isas.js';

const { bf16, f16, int8, int4 } = WeightFormat;

/** A map [N,I] -> [N,O]; offsets, in floats, are where its matrices begin in one stretch of memory. */
interface Link {
  readonly x: number;
  readonly y: number;
  readonly weight: number;
  readonly bias?: number;
  readonly O: number;
  /** As in the other maps of a chain unless given. */
  readonly N?: number;
  readonly I?: number;
  readonly format?: WeightFormat;
  readonly group?: number;
}

const MEMORY = 1 << 20;
const I = 300;
/** Inputs, results and weights; the rows of x and y of 40 steps have their place. */
const [X, X2, Y, W] = [0, 20_000, 40_000, 200_000];
/** Rows of weights at W, whose floats are at most I for each. */
const ROWS = 2200;

const CHAINS: Readonly<Record<string, (N: number, rowFloats: number) => readonly Link[]>> = {
  'maps of one x': (N, row) => [
    { x: X, y: Y, weight: W, O: 515, bias: 7 },
    { x: X, y: Y + 515 * N, weight: W + 515 * row, O: 1 },
    { x: X, y: Y + 516 * N, weight: W + 516 * row, O: 0 },
    { x: X, y: Y + 516 * N, weight: W + 516 * row, O: 98, bias: 19 },
    { x: X, y: Y + 614 * N, weight: W + 614 * row, O: 1030 },
  ],
  'more maps of one x than run at once': (N) =>
    Array.from({ length: 19 }, (_, k) => ({ x: X, y: Y + 40 * k * N, weight: W + 64 * k, O: 40 })),
  'maps of two x': (N, row) => [
    { x: X, y: Y, weight: W, O: 99 },
    { x: X2, y: Y + 99 * N, weight: W + 99 * row, O: 70 },
  ],
  'x is what the one before writes': (_, row) => [
    { x: X, y: X2, weight: W, O: I },
    { x: X2, y: Y, weight: W + I * row, O: 70 },
  ],
  'bias and weights are what the ones before write': (N) => [
    { x: X, y: Y, weight: W, O: 99 },
    { x: X, y: Y + 99 * N, weight: W, O: 70, bias: Y + 3 },
    { x: X, y: Y + 200 * N, weight: W + 256, O: 400 },
    { x: X, y: Y + 600 * N, weight: Y + 200 * N, O: 2 },
  ],
  'both write the same': (N) => [
    { x: X, y: Y, weight: W, O: 600 },
    { x: X, y: Y + 560 * N, weight: W + 256, O: 600 },
  ],
  'what the ones before read is written': () => [
    { x: X, y: Y, weight: W, O: 99, bias: X2 + 5 },
    { x: X, y: X2, weight: W + 256, O: 99 },
    { x: X, y: W + 64, weight: W + 64 * 1024, O: 70 },
  ],
  'fewer rows, columns, and another group or format': (N) => [
    { x: X, y: Y, weight: W, O: 99 },
    { x: X, y: Y + 99 * N, weight: W, O: 98, N: 1 },
    { x: X, y: Y + 200 * N, weight: W, O: 97, I: 256 },
    { x: X, y: Y + 300 * N, weight: W, O: 96, I: 256, format: int8, group: 16 },
    { x: X, y: Y + 400 * N, weight: W, O: 95, I: 256, format: int8, group: 64 },
    { x: X, y: Y + 500 * N, weight: W, O: 94, I: 256, format: int4, group: 64 },
    { x: X, y: Y + 600 * N, weight: W, O: 93, I: 256, format: bf16, group: 0 },
    { x: X, y: Y + 700 * N, weight: W, O: 92, I: 256, format: f16, group: 0 },
  ],
};

const isas = usableIsas();
afterAll(() => void (isas.length > 0 && cpuWith('auto')));

describe.skipIf(isas.length === 0)('maps by stored weights on the cpu', () => {
  const noise = Float32Array.from(normal(randomKey(1), MEMORY));

  /** The memory after a chain. */
  async function chain(
    device: Device,
    collects: boolean,
    links: readonly Link[],
    [N, format, group]: readonly [number, WeightFormat, number],
  ): Promise<Float32Array> {
    const memory = device.alloc('float', MEMORY);
    const { address } = memory as DeviceBuffer & { address: number };
    const bytesAt = (offset: number, length: number): DeviceBuffer =>
      device.share('uint8', {
        address: address + 4 * offset,
        length,
        bytes: () => {
          throw new Error('the cpu reads its own memory');
        },
      });
    device.write(memory, noise);
    const weights = device.alloc('float', ROWS * I);
    device.write(weights, noise.subarray(0, ROWS * I));
    device.kernels.packRows(bytesAt(W, ROWS * packedRowBytes(format, I, group)), weights, ROWS, I, format, group);
    device.free(weights);
    const body = () => {
      for (const { x, y, weight, bias, O, ...own } of links) {
        const all = { N, I, format, group, ...own };
        const rowBytes = packedRowBytes(all.format, all.I, all.group);
        device.kernels.linearPacked(
          device.view(memory, y, all.N * O),
          device.view(memory, x, all.N * all.I),
          bytesAt(weight, O * rowBytes),
          bias === undefined ? null : device.view(memory, bias, O),
          all.N,
          O,
          all.I,
          all.format,
          all.group,
        );
      }
    };
    if (collects) device.collected!(body);
    else body();
    const result = (await device.read(memory)) as Float32Array;
    device.free(memory);
    return result;
  }

  test.each(isas)('run beside each other, have the bits of one after the other: %s', async (isa) => {
    for (const [name, linksOf] of Object.entries(CHAINS)) {
      for (const [format, group] of [
        [bf16, 0],
        [int8, 0],
        [int4, 32],
      ] as const) {
        for (const N of [1, 6, 20]) {
          const links = linksOf(N, packedRowBytes(format, I, group) / 4);
          const alone = await chain(cpuWith(isa, 1), false, links, [N, format, group]);
          for (const threads of [1, 2, 5]) {
            const together = await chain(cpuWith(isa, threads), true, links, [N, format, group]);
            const same = Buffer.from(alone.buffer).equals(Buffer.from(together.buffer));
            expect(same, `${name}, format ${format}, group ${group}, N = ${N}, ${threads} threads`).toBe(true);
          }
        }
      }
    }
  });

  test('say what is wrong with one of them', () => {
    const device = cpuWith(isas.at(-1)!);
    const [y, x, weight] = [device.alloc('float', 8), device.alloc('float', 16), device.alloc('uint8', 256)];
    const call = (group: number) => device.kernels.linearPacked(y, x, weight, null, 1, 4, 16, int8, group);
    expect(() => device.collected!(() => [call(0), call(8), call(8)])).toThrow(
      'linear_packed: group must be a multiple of 16',
    );
    [y, x, weight].forEach((buffer) => device.free(buffer));
  });
});
