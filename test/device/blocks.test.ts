/**
 * @file Block-diagonal linear and the fused output layer of the cpu device at sizes past their blocks (rows, vocabulary,
 * depth), where the self-test's small cases do not reach: against the reference, with the same bits for any threads.
 */
import { afterAll, describe, expect, test } from 'vitest';
import type { Device } from '../../src/device/device.js';
import type { DeviceBuffer } from '../../src/device/kernels.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import { relativeRms } from '../support/compare.js';
import { cpuWith, usableIsas } from '../support/isas.js';

type Floats = Float32Array | Float64Array;
type Results = Record<string, Floats>;

/** A fixed stream of floats in -scale..scale. */
function noise(length: number, seed: number, scale = 1): Float32Array {
  let state = (seed * 2654435761) >>> 0;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return scale * (state / 2 ** 31 - 1);
  });
}

/** Buffers of one call on one device: given data goes in, named results come out. */
function bench(device: Device) {
  const held: DeviceBuffer[] = [];
  const put = (data: Float32Array | Int32Array): DeviceBuffer => {
    const buffer = device.alloc(data instanceof Int32Array ? 'int32' : 'float', data.length);
    device.write(buffer, data);
    held.push(buffer);
    return buffer;
  };
  const take = async (buffers: Record<string, DeviceBuffer>): Promise<Results> => {
    const entries = Object.entries(buffers).map(async ([name, buffer]) => [name, await device.read(buffer)] as const);
    const results = Object.fromEntries(await Promise.all(entries)) as Results;
    for (const buffer of held) device.free(buffer);
    return results;
  };
  return { put, take };
}

/** N, G, O, I: pieces of 256 rows, vectors that end within a row, groups of 4 and 8, depths past 256. */
const HEADWISE = [
  [300, 2, 20, 36],
  [7, 2, 40, 24],
  [513, 5, 4, 4],
  [67, 33, 8, 8],
  [2, 9, 4, 4],
  [1, 3, 8, 8],
  [20, 1, 100, 270],
  [261, 2, 24, 64],
] as const;

async function headwise(device: Device, [N, G, O, I]: (typeof HEADWISE)[number]): Promise<Results> {
  const { put, take } = bench(device);
  const [x, weight, bias] = [put(noise(N * G * I, 1)), put(noise(G * O * I, 2, 0.3)), put(noise(G * O, 3))];
  const dy = put(noise(N * G * O, 4));
  const y = put(new Float32Array(N * G * O).fill(NaN));
  const [dx, dweight, dbias] = [put(noise(N * G * I, 5)), put(noise(G * O * I, 6)), put(noise(G * O, 7))];
  device.kernels.headwiseLinearForward(y, x, weight, bias, N, G, O, I);
  device.kernels.headwiseLinearBackward(dx, dweight, dbias, dy, x, weight, N, G, O, I);
  return await take({ y, dx, dweight, dbias });
}

/** N, D, V: rows past 96 and 2048, chunks of 512 of the vocabulary, depths past 256. */
const CROSS_ENTROPY = [
  [2060, 9, 530],
  [24, 300, 600],
  [2, 40, 1037],
] as const;

async function crossEntropy(device: Device, [N, D, V]: (typeof CROSS_ENTROPY)[number]): Promise<Results> {
  const { put, take } = bench(device);
  const [x, weight] = [put(noise(N * D, 1)), put(noise(V * D, 2, 4 / Math.sqrt(D)))];
  const targets = put(Int32Array.from({ length: N }, (_, n) => (n % 7 === 3 ? -1 : (n * 7919) % V)));
  const dloss = put(noise(N, 3).map((value, n) => (n % 5 === 2 ? 0 : value)));
  const [loss, logsumexp] = [put(new Float32Array(N).fill(NaN)), put(new Float32Array(N).fill(NaN))];
  const [dx, dweight] = [put(noise(N * D, 4, 0.1)), put(noise(V * D, 5, 0.1))];
  device.kernels.linearCrossEntropyForward(loss, logsumexp, x, weight, targets, N, D, V, 0);
  device.kernels.linearCrossEntropyBackward(dx, dweight, dloss, x, weight, targets, logsumexp, N, D, V, 0);
  const [again, dxAgain, dweightAgain] = [
    put(new Float32Array(N).fill(NaN)),
    put(noise(N * D, 4, 0.1)),
    put(noise(V * D, 5, 0.1)),
  ];
  const gradients = [dxAgain, dweightAgain] as const;
  device.kernels.linearCrossEntropyForwardBackward(...gradients, again, dloss, x, weight, targets, N, D, V, 0);
  return await take({ loss, logsumexp, dx, dweight, again, dxAgain, dweightAgain });
}

const isas = usableIsas();
afterAll(() => void (isas.length > 0 && cpuWith('auto')));

describe.skipIf(isas.length === 0)('the cpu device, past its blocks', () => {
  const runs = [
    ...HEADWISE.map((sizes) => ({ name: `headwise ${sizes.join(' ')}`, run: (d: Device) => headwise(d, sizes) })),
    ...CROSS_ENTROPY.map((sizes) => ({
      name: `cross-entropy ${sizes.join(' ')}`,
      run: (d: Device) => crossEntropy(d, sizes),
    })),
  ];

  test.each(runs)('$name', async ({ run }) => {
    const right = await run(createReferenceDevice());
    for (const isa of isas) {
      const alone = await run(cpuWith(isa, 1));
      for (const [name, values] of Object.entries(right)) {
        expect(relativeRms(alone[name]!, values), `${name} on ${isa}`).toBeLessThan(1e-6);
      }
      for (const threads of [2, 5]) {
        const together = await run(cpuWith(isa, threads));
        for (const [name, values] of Object.entries(alone)) {
          const isSame = Buffer.from(values.buffer).equals(Buffer.from(together[name]!.buffer));
          expect(isSame, `${name} on ${isa} with ${threads} threads`).toBe(true);
        }
      }
    }
  });

  test('a target outside of the vocabulary is an error', async () => {
    const device = cpuWith('auto');
    const { put, take } = bench(device);
    const [x, weight, targets] = [put(noise(6, 1)), put(noise(10, 2)), put(Int32Array.of(0, -1, 5))];
    const loss = put(noise(3, 3));
    expect(() => device.kernels.linearCrossEntropyForward(loss, loss, x, weight, targets, 3, 2, 5, 0)).toThrow(
      'linear_cross_entropy_forward: target 5 at position 2 lies outside of the vocabulary 0..4 (-1: ignored)',
    );
    await take({});
  });
});
