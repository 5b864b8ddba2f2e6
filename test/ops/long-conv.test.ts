/**
 * @file The long convolution beside the self-test: gradients of the op, sizes where the work is cut into many pieces, any
 * number of threads, documents apart to the bit, and what it refuses.
 */
import { describe, expect, it } from 'vitest';
import type { Device } from '../../src/device/device.js';
import { CaseRandom } from '../../src/device/selftest/problem.js';
import { longConv, type LongConvOptions } from '../../src/ops/long-conv.js';
import { scope } from '../../src/tensor/scope.js';
import { backward } from '../../src/tensor/tape.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { relativeRms } from '../support/compare.js';
import { cpuOrReason } from '../support/cpu.js';
import { referenceDevice, testDevices } from '../support/devices.js';
import { gradcheck } from '../support/gradcheck.js';

type Sizes = readonly [B: number, T: number, D: number, K: number];

const random = (seed: string, length: number): Float64Array => new CaseRandom(seed).floats(length).data as Float64Array;
const NAMES = ['y', 'dx', 'dkernel', 'dskip'];

/** y and all gradients of a problem drawn from its sizes. */
async function results(
  device: Device,
  [B, T, D, K]: Sizes,
  { reset, ...options }: Omit<LongConvOptions, 'reset'> & { reset?: Uint8Array } = {},
): Promise<Float64Array[]> {
  const tensors = scope(device, { record: true }, () => {
    const x = Tensor.from(device, random('x', B * T * D), [B, T, D]);
    const kernel = Tensor.from(device, random('kernel', K * D), [K, D]);
    const skip = Tensor.from(device, random('skip', D), [D]);
    for (const t of [x, kernel, skip]) t.requiresGrad = true;
    const flags = reset === undefined ? null : Tensor.from(device, reset, [B, T]);
    const y = longConv(x, kernel, { skip, reset: flags, ...options });
    backward([[y, Tensor.from(device, random('dy', y.size), y.shape)]]);
    return [y.retain(), x.gradTensor(), kernel.gradTensor(), skip.gradTensor()].map((t) => t.retain());
  });
  const read = await Promise.all(tensors.map(async (t) => Float64Array.from(await t.data())));
  tensors.forEach((t) => t.dispose());
  return read;
}

describe.each(testDevices())('on $name', ({ create }) => {
  const device = create();
  device.poison = true;
  const flags = Uint8Array.from([0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]);
  const resets = (on: Device) => Tensor.from(on, flags, [2, 7]);
  const inputs = [{ shape: [2, 7, 5] }, { shape: [4, 5] }, { shape: [5] }];

  it.each([
    ['causal', false],
    ['reversed', true],
  ])('%s: its gradients are those of finite differences', async (_, reversed) => {
    const plain = (x: Tensor, kernel: Tensor, skip: Tensor) => [longConv(x, kernel, { skip, reversed })];
    const apart = (x: Tensor, kernel: Tensor) => [longConv(x, kernel, { reversed, reset: resets(x.device) })];
    const tolerance = device.precision === 'float64' ? 1e-8 : 3e-5;
    for (const which of [0, 1, 2])
      expect(await gradcheck(device, plain as never, inputs, which)).toBeLessThan(tolerance);
    for (const which of [0, 1])
      expect(await gradcheck(device, apart as never, inputs.slice(0, 2), which)).toBeLessThan(tolerance);
  });

  it('documents are apart: each gives the bits that it gives alone', async () => {
    const [T, D] = [300, 11];
    const kernel = random('kernel', T * D);
    const run = async (x: Float64Array, reset: Uint8Array | null) => {
      const steps = x.length / D;
      const y = scope(device, {}, () =>
        longConv(Tensor.from(device, x, [1, steps, D]), Tensor.from(device, kernel, [T, D]), {
          reset: reset && Tensor.from(device, reset, [1, steps]),
        }).retain(),
      );
      const data = Float64Array.from(await y.data());
      y.dispose();
      return data;
    };
    const x = random('x', T * D);
    const reset = Uint8Array.from({ length: T }, (_, t) => Number(t === 0 || t === 40 || t === 140));
    const whole = await run(x, reset);
    for (const [from, to] of [
      [0, 40],
      [40, 140],
      [140, 300],
    ] as const) {
      expect(whole.subarray(from * D, to * D)).toEqual(await run(x.subarray(from * D, to * D), null));
    }
  });
});

const cpu = cpuOrReason();

describe.skipIf(typeof cpu === 'string')('on the cpu', () => {
  const sizes: Sizes = [3, 500, 40, 500];
  const resets = Uint8Array.from({ length: 3 * 500 }, (_, at) => Number(at % 500 === 0 || at % 217 === 0));

  it.each([
    ['causal', {}],
    ['reversed', { reversed: true }],
    ['documents', { reset: resets }],
  ])('many pieces agree with the definition: %s', async (_, options) => {
    const got = await results(cpu as Device, sizes, options);
    const expected = await results(referenceDevice(), sizes, options);
    got.forEach((x, k) => expect(relativeRms(x, expected[k]!), NAMES[k]).toBeLessThan(1e-6));
  });

  it('gives the same bits for any number of threads', async () => {
    const of = (threads: number) => results(cpuOrReason({ threads }) as Device, sizes, { reset: resets });
    const [one, three] = [await of(1), await of(3)];
    cpuOrReason({ threads: 0 });
    expect(three).toEqual(one);
  });

  it('transforms long sequences', async () => {
    // A filter of one tap at the far end: the output is the input, T-1 steps later, and the gradient its correlation.
    const device = cpu as Device;
    const [T, D] = [20_000, 3];
    const y = scope(device, {}, () => {
      const x = Tensor.from(device, random('x', T * D), [1, T, D]);
      const taps = new Float64Array(15_000 * D);
      taps.fill(1, 14_999 * D);
      return longConv(x, Tensor.from(device, taps, [15_000, D])).retain();
    });
    const expected = new Float64Array(T * D);
    expected.set(random('x', T * D).subarray(0, (T - 14_999) * D), 14_999 * D);
    expect(relativeRms(await y.data(), expected)).toBeLessThan(1e-6);
    y.dispose();
  });
});

describe('refuses', () => {
  const reference = referenceDevice();
  const x = (shape: number[]) => Tensor.full(reference, shape, 0.5);
  it.each([
    [[2, 3], [3, 3], null, /x must be \[B,T,D\], got \[2,3\]/],
    [[2, 3, 4], [3, 5], null, /kernel must be \[3,4\], got \[3,5\]/],
    [[2, 3, 4], [3, 4], [3], /skip must be \[4\], got \[3\]/],
  ] as const)('x %o kernel %o skip %o', (shape, kernel, skip, message) => {
    scope(reference, {}, () => {
      expect(() => longConv(x([...shape]), x([...kernel]), { skip: skip && x([...skip]) })).toThrow(message);
    });
  });
});
