/** @file An update that the device decides about is the one that the host decides about. Skipped without an adapter. */
import { afterAll, describe, expect, it } from 'vitest';
import type { Device, FloatArray } from '../../src/device/device.js';
import type { WebGpuDevice } from '../../src/device/webgpu/webgpu.js';
import { Parameters } from '../../src/model/parameters.js';
import { Update, type UpdateResult } from '../../src/train/update.js';
import { referenceDevice } from '../support/devices.js';
import { webGpuOrReason } from '../support/webgpu.js';

const opened = await webGpuOrReason();
const reason = typeof opened === 'string' ? ` (skipped: ${opened})` : '';
const SHAPE = [7, 11];
const LENGTH = 80; // with the padding
const table = { weight: { shape: SHAPE, init: { kind: 'zeros' }, decay: true } } as never;
const optimizer = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, decay: 'matrices' } as const;
const numbers = (factor: number) =>
  Float32Array.from({ length: LENGTH }, (_, n) => (n < 77 ? factor * Math.sin(n + 1) : 0));

interface Outcome {
  readonly result: UpdateResult;
  readonly updates: number;
  readonly values: FloatArray;
  readonly m: FloatArray;
  readonly v: FloatArray;
}

/** Two updates: an ordinary one, then one with this loss and gradient. */
async function updated(device: Device, clip: number, loss: number, gradient: Float32Array): Promise<Outcome> {
  const parameters = new Parameters(device, table);
  device.write(parameters.values, numbers(0.5));
  const update = new Update(parameters, optimizer, clip);
  let result: UpdateResult | null = null;
  for (const [value, gradients] of [
    [1.5, numbers(0.1)],
    [loss, gradient],
  ] as const) {
    device.write(update.lossBuffer, Float32Array.of(value));
    device.write(parameters.gradients, gradients);
    result = await update.apply(0.01);
  }
  const { m, v } = await update.optimizer.moments();
  const values = (await device.read(parameters.values)) as FloatArray;
  const outcome = { result: result!, updates: update.optimizer.step, values, m, v };
  update.dispose();
  parameters.dispose();
  return outcome;
}

const gap = (a: FloatArray, b: FloatArray): number => {
  const squares = (x: ArrayLike<number>) => Array.from(x).reduce((sum, value) => sum + value * value, 0);
  return Math.sqrt(squares(Array.from(a, (value, n) => value - b[n]!)) / squares(b));
};

describe.skipIf(reason !== '')(`an update on the webgpu device${reason}`, () => {
  const device = opened as WebGpuDevice;
  afterAll(() => device.destroy());

  it.each([
    ['no clipping', Infinity, 1, numbers(0.3)],
    ['a gradient below the bound', 100, 1, numbers(0.3)],
    ['a gradient above the bound', 0.5, 1, numbers(30)],
    ['a gradient of zeros', 0.5, 1, numbers(0)],
  ])('with %s is that of the reference', async (_, clip, loss, gradient) => {
    const [ours, theirs] = [
      await updated(device, clip, loss, gradient),
      await updated(referenceDevice(), clip, loss, gradient),
    ];
    expect(ours.updates).toBe(2);
    expect(ours.result.skipped).toBe(false);
    expect(ours.result.gradientNorm).toBeCloseTo(theirs.result.gradientNorm, 3);
    for (const what of ['values', 'm', 'v'] as const) expect(gap(ours[what], theirs[what]), what).toBeLessThan(1e-6);
  });

  it.each([
    ['a loss that is not a number', NaN, numbers(0.3)],
    ['an infinite loss', Infinity, numbers(0.3)],
    ['a gradient that is not a number', 1, numbers(0.3).fill(NaN, 5, 6)],
    ['a gradient whose norm overflows', 1, numbers(1e30)],
  ])('with %s is left out, moments and all', async (_, loss, gradient) => {
    const before = await updated(device, 1, 1, numbers(0));
    const { result, updates, values, m, v } = await updated(device, 1, loss, gradient);
    expect(result.skipped).toBe(true);
    expect(updates).toBe(1);
    // What one update made of the values: that of the reference, which skips the second too.
    const theirs = await updated(referenceDevice(), 1, NaN, gradient);
    expect(theirs.updates).toBe(1);
    for (const [what, ours] of Object.entries({ values, m, v })) {
      expect(gap(ours, theirs[what as 'values']), what).toBeLessThan(1e-6);
      expect(gap(ours, before[what as 'values']), what).toBeGreaterThan(1e-4); // a second update is seen
    }
  });
});
