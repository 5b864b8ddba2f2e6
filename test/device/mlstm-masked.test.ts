/**
 * @file Numbers that are none stay where they belong: what the mLSTM of a device makes of a step does not depend on a later one,
 * nor on another document of its row, even where a chunk multiplies it with a weight of 0.
 */
import { afterAll, describe, expect, test } from 'vitest';
import type { Device } from '../../src/device/device.js';
import { mlstm } from '../../src/ops/mlstm.js';
import { mul } from '../../src/ops/elementwise.js';
import { sum } from '../../src/ops/sum.js';
import { fold, normal, randomKey } from '../../src/tensor/random.js';
import { scope } from '../../src/tensor/scope.js';
import { backward } from '../../src/tensor/tape.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { testDevices } from '../support/devices.js';
import { webGpuOrReason } from '../support/webgpu.js';

const [B, T, NH, DK, DV] = [2, 75, 2, 5, 7];
/** In the middle of the second of three chunks of 32 steps, where a document begins. */
const BEGIN = 41;
const WIDTHS = { q: NH * DK, k: NH * DK, v: NH * DV, i: NH, f: NH } as const;
type Name = keyof typeof WIDTHS;
const NAMES = Object.keys(WIDTHS) as Name[];
const KEY = randomKey(5);

/** Values of one kind, in both rows: those at `at` are `value`. */
interface Spoiled {
  readonly name: Name;
  readonly at: readonly number[];
  readonly value: number;
}

/** h and the gradients of all inputs, each [B,T,width]. */
async function run(device: Device, spoiled: Spoiled | null, hasReset: boolean) {
  const inputs = Object.fromEntries(
    NAMES.map((name, n) => {
      const width = WIDTHS[name];
      const data = Float32Array.from(normal(fold(KEY, n), B * T * width));
      if (spoiled?.name === name) {
        for (let b = 0; b < B; b++)
          for (const t of spoiled.at) data.fill(spoiled.value, (b * T + t) * width, (b * T + t + 1) * width);
      }
      const tensor = Tensor.from(device, data, [B, T, width]);
      tensor.attachGrad(device.alloc('float', data.length));
      device.kernels.fill(tensor.grad, 0, data.length);
      return [name, tensor];
    }),
  ) as Record<Name, Tensor>;
  const dh = Tensor.from(device, Float32Array.from(normal(fold(KEY, 9), B * T * NH * DV)), [B, T, NH * DV]);
  const flags = Uint8Array.from({ length: B * T }, (_, n) => Number(n % T === BEGIN));
  const reset = hasReset ? Tensor.from(device, flags, [B, T]) : null;
  const h = scope(device, { record: true }, () => {
    const [all] = mlstm(inputs, { reset, chunkSize: 32 });
    const kept = all.retain();
    backward(sum(mul(all, dh)), { release: true });
    return kept;
  });
  const read = async (name: Name) => [name, await device.read(inputs[name].grad)] as const;
  return { h: await h.data(), gradients: Object.fromEntries(await Promise.all(NAMES.map(read))) };
}

/** Steps from..to of both rows. */
const steps = (data: ArrayLike<number>, from: number, to: number): number[] => {
  const width = data.length / (B * T);
  return [0, 1].flatMap((b) => Array.from(data).slice((b * T + from) * width, (b * T + to) * width));
};

const opened = await webGpuOrReason();
const reason = typeof opened === 'string' ? ` (skipped: ${opened})` : '';
const devices = [
  ...testDevices().map(({ name, create }) => ({ name, create, skipped: false })),
  { name: `webgpu${reason}`, create: () => opened as Device, skipped: reason !== '' },
];

afterAll(() => {
  if (typeof opened !== 'string') opened.destroy();
});

describe.each(devices)('on $name', ({ name: kind, create, skipped }) => {
  const isChunked = kind === 'cpu';
  // The CPU multiplies what lies behind a step in its chunk with 0.
  test.skipIf(skipped || isChunked).each(['q', 'k', 'v'] as const)(
    'a later %s changes nothing before it',
    async (name) => {
      const device = create();
      const whole = await run(device, null, false);
      for (const value of [NaN, Infinity]) {
        const broken = await run(device, { name, at: [37, 45], value }, false);
        expect(steps(broken.h, 0, 37)).toEqual(steps(whole.h, 0, 37));
        expect(steps(broken.h, 37, 38).every(Number.isFinite)).toBe(false);
      }
    },
  );

  test.skipIf(skipped).each(NAMES)('a %s of the document before changes nothing of the next', async (name) => {
    const device = create();
    const whole = await run(device, null, true);
    // In the chunk of the border, and in the one before.
    const broken = await run(device, { name, at: [20, 38], value: NaN }, true);
    expect(steps(broken.h, BEGIN, T)).toEqual(steps(whole.h, BEGIN, T));
    for (const input of NAMES) {
      const [seen, expected] = [broken.gradients[input]!, whole.gradients[input]!];
      expect(steps(seen, BEGIN, T), `gradient of ${input}`).toEqual(steps(expected, BEGIN, T));
    }
    expect(steps(broken.h, 20, 21).every(Number.isFinite)).toBe(false);
  });

  test.skipIf(skipped).each(NAMES)('a %s of the next document changes nothing of the one before', async (name) => {
    const device = create();
    const whole = await run(device, null, true);
    const broken = await run(device, { name, at: [45, 70], value: NaN }, true);
    expect(steps(broken.h, 0, BEGIN)).toEqual(steps(whole.h, 0, BEGIN));
    for (const input of NAMES) {
      const [seen, expected] = [broken.gradients[input]!, whole.gradients[input]!];
      expect(steps(seen, 0, BEGIN), `gradient of ${input}`).toEqual(steps(expected, 0, BEGIN));
    }
  });
});
