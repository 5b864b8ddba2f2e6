/**
 * @file The delta rule where the self-test's small cases do not lead: more border states than are kept at once, any
 * number of threads, what it is for (a key read back gives its last value), and what it refuses.
 */
import { describe, expect, it, test } from 'vitest';
import type { Device } from '../../src/device/device.js';
import { CaseRandom } from '../../src/device/selftest/problem.js';
import { deltaRule, type DeltaRuleInputs, type DeltaRuleOptions } from '../../src/ops/delta-rule.js';
import { scope } from '../../src/tensor/scope.js';
import { backward } from '../../src/tensor/tape.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { relativeRms } from '../support/compare.js';
import { cpuOrReason } from '../support/cpu.js';
import { referenceDevice } from '../support/devices.js';

type Sizes = readonly [B: number, T: number, NH: number, DK: number, DV: number];

const random = (seed: string, length: number): Float64Array => new CaseRandom(seed).floats(length).data as Float64Array;

/** Keys of length one, in rows of `width`. */
function keys(seed: string, rows: number, width: number): Float64Array {
  const k = random(seed, rows * width);
  for (let row = 0; row < rows; row++) {
    const own = k.subarray(row * width, (row + 1) * width);
    const norm = Math.hypot(...own);
    own.forEach((x, d) => (own[d] = x / norm));
  }
  return k;
}

/** o, the last state and all gradients of a problem drawn from its sizes. */
async function results(device: Device, [B, T, NH, DK, DV]: Sizes, options: DeltaRuleOptions): Promise<Float64Array[]> {
  const rows = B * T * NH;
  const names = ['q', 'k', 'v', 'beta', 'g'] as const;
  const data = [
    random('q', rows * DK),
    keys('k', rows, DK),
    random('v', rows * DV),
    random('beta', rows).map((x) => 1 / (1 + Math.exp(-x))),
    random('g', rows).map((x) => -0.02 * x * x),
    random('state', B * NH * DK * DV),
  ];
  const widths = [NH * DK, NH * DK, NH * DV, NH, NH];
  const shapes = [...widths.map((width) => [B, T, width]), [B, NH, DK, DV]];
  const tensors = scope(device, { record: true }, () => {
    const xs = data.map((x, k) => Tensor.from(device, x, shapes[k]!));
    for (const x of xs) x.requiresGrad = true;
    const inputs = Object.fromEntries(names.map((name, k) => [name, xs[k]!])) as unknown as DeltaRuleInputs;
    const [o, last] = deltaRule(inputs, { ...options, state: xs[5]! });
    backward([
      [o, Tensor.from(device, random('do', rows * DV), o.shape)],
      [last, Tensor.from(device, random('dlast', B * NH * DK * DV), last.shape)],
    ]);
    return [o.retain(), last.retain(), ...xs.map((x) => x.gradTensor())];
  });
  const read = await Promise.all(tensors.map(async (x) => Float64Array.from(await x.data())));
  tensors.forEach((x) => x.dispose());
  return read;
}

const NAMES = ['o', 'state', 'dq', 'dk', 'dv', 'dbeta', 'dg', 'dstate'];

function expectClose(actual: Float64Array[], expected: Float64Array[], tolerance: number): void {
  actual.forEach((x, k) => expect(relativeRms(x, expected[k]!), NAMES[k]).toBeLessThan(tolerance));
}

const cpu = cpuOrReason();
const device = cpu as Device;

describe.skipIf(typeof cpu === 'string')('on the cpu', () => {
  it('keeps few of many border states and finds the same gradients', async () => {
    // 300 states of 64 K floats with chunks of one step, 5 with chunks of 64.
    const sizes: Sizes = [1, 300, 1, 256, 256];
    const few = await results(device, sizes, { chunkSize: 64 });
    expectClose(await results(device, sizes, { chunkSize: 1 }), few, 1e-5);
  });

  it('is the reference for heads of several panels and chunks longer than it uses', async () => {
    const sizes: Sizes = [1, 140, 2, 37, 50];
    expectClose(await results(device, sizes, { chunkSize: 500 }), await results(referenceDevice(), sizes, {}), 2e-6);
  });

  it('gives the same bits for any number of threads', async () => {
    const of = (threads: number) => results(cpuOrReason({ threads }) as Device, [2, 70, 3, 20, 36], {});
    const one = await of(1);
    const three = await of(3);
    cpuOrReason({ threads: 0 });
    expect(three).toEqual(one);
  });
});

test('a key that is read back gives the value last written under it, where a sum would give both', async () => {
  const reference = referenceDevice();
  const from = (data: number[], width: number) => Tensor.from(reference, Float64Array.from(data), [1, 3, width]);
  const o = scope(reference, {}, () => {
    const k = from([0.6, 0.8, 1, 0, 0.6, 0.8], 2);
    const q = from([0, 0, 0, 0, 0.6, 0.8], 2);
    return deltaRule({ q, k, v: from([3, 5, 7], 1), beta: from([1, 1, 1], 1), g: null }, { scale: 1 })[0].retain();
  });
  expect((await o.data())[2]).toBeCloseTo(7, 12);
  o.dispose();
});

describe('refuses', () => {
  const reference = referenceDevice();
  const x = (shape: number[]) => Tensor.full(reference, shape, 0.5);
  const fitting = () => ({ q: x([2, 3, 8]), k: x([2, 3, 8]), v: x([2, 3, 4]), beta: x([2, 3, 2]), g: null });
  it.each([
    [{ q: [2, 3, 9], k: [2, 3, 9] }, /multiples of the 2 heads/],
    [{ k: [2, 3, 4] }, /deltaRule: k must be \[2,3,8\], got \[2,3,4\]/],
    [{ g: [2, 3, 1] }, /deltaRule: g must be \[2,3,2\]/],
    [{ q: [8] }, /one step, \[B,NH\*DK\], got \[8\]/],
  ])('%o', (shapes, message) => {
    scope(reference, {}, () => {
      const wrong = Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, x(shape)]));
      expect(() => deltaRule({ ...fitting(), ...wrong })).toThrow(message);
    });
  });
  it('a state of another shape, no chunk, and overwriting a state that has a gradient', () => {
    scope(reference, { record: true }, () => {
      expect(() => deltaRule(fitting(), { state: x([2, 2, 4, 4]) })).toThrow(/state must be \[2,2,4,2\]/);
      expect(() => deltaRule(fitting(), { chunkSize: 0 })).toThrow(/at least 1, got 0/);
      const state = x([2, 2, 4, 2]);
      state.requiresGrad = true;
      expect(() => deltaRule(fitting(), { state, inPlace: true })).toThrow(/cannot be overwritten/);
    });
  });
});
