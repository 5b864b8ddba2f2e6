/** @file The reference device: its memory, its scalar functions, and its cells against what PyTorch computed. */
import { describe, expect, test } from 'vitest';
import { Activation } from '../../src/device/kernels.js';
import { activate, activateDerivative, erf, erfc, logSigmoid, sigmoid } from '../../src/device/reference/functions.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import { mlstmGolden, mlstmGoldenGaps, recurrentGoldenGaps } from '../support/golden-cells.js';

// Both sides are float64 and order their sums differently; 1e-14 is what is seen.
const GOLDEN_TOLERANCE = 1e-10;

function poisoned() {
  const device = createReferenceDevice();
  device.poison = true;
  return device;
}

describe('golden numbers', () => {
  test.each(mlstmGolden)('$file', async (golden) => {
    for (const { tensor, gap } of await mlstmGoldenGaps(poisoned(), golden, 16)) {
      expect(gap, tensor).toBeLessThan(GOLDEN_TOLERANCE);
    }
  });

  test.each(['slstm', 'lstm'] as const)('%s_cell', async (cell) => {
    for (const { tensor, gap } of await recurrentGoldenGaps(poisoned(), cell)) {
      expect(gap, tensor).toBeLessThan(GOLDEN_TOLERANCE);
    }
  });
});

describe('scalar functions', () => {
  // Computed with 30 digits, rounded to float64.
  const erfValues = [
    [1e-10, 1.1283791670955126e-10],
    [0.1, 0.1124629160182849],
    [0.5, 0.5204998778130465],
    [0.9999, 0.8426592780487595],
    [1, 0.8427007929497149],
    [1.5, 0.9661051464753108],
    [2, 0.9953222650189527],
    [3, 0.9999779095030014],
  ] as const;
  const erfcValues = [
    [-3, 1.9999779095030015],
    [-1, 1.842700792949715],
    [0.5, 0.4795001221869535],
    [1, 0.15729920705028513],
    [2, 0.004677734981047266],
    [3, 0.00002209049699858544],
    [5, 1.537459794428035e-12],
    [10, 2.088487583762545e-45],
    [20, 5.395865611607901e-176],
    [26, 5.663192408856143e-296],
  ] as const;

  test.each(erfValues)('erf(%s)', (x, expected) => {
    expect(Math.abs(erf(x) / expected - 1)).toBeLessThan(1e-15);
    expect(erf(-x)).toBe(-erf(x));
  });

  test.each(erfcValues)('erfc(%s)', (x, expected) => {
    expect(Math.abs(erfc(x) / expected - 1)).toBeLessThan(2e-15);
  });

  test('reach their limits without NaN, and keep NaN', () => {
    expect([erf(Infinity), erf(-Infinity), erfc(Infinity), erfc(-Infinity)]).toEqual([1, -1, 0, 2]);
    expect([sigmoid(Infinity), sigmoid(-Infinity), sigmoid(-1e4)]).toEqual([1, 0, 0]);
    expect([logSigmoid(1e4), logSigmoid(-1e4)]).toEqual([-0, -1e4]);
    for (const activation of Object.values(Activation)) {
      for (const x of [-1e308, -1e4, 1e4, 1e308]) {
        expect(activate(x, activation)).not.toBeNaN();
        expect(activateDerivative(x, activation)).not.toBeNaN();
      }
      expect(activate(NaN, activation)).toBeNaN();
    }
    expect([Activation.silu, Activation.gelu, Activation.relu].map((a) => activate(-Infinity, a))).toEqual([0, 0, 0]);
  });
});

describe('memory', () => {
  test('counts what is held and the most that was', () => {
    const device = createReferenceDevice();
    const [a, b] = [device.alloc('float', 10), device.alloc('int32', 10)];
    expect(device.memory.bytes).toBe(120);
    device.free(a);
    expect([device.memory.bytes, device.memory.peak]).toEqual([40, 120]);
    device.memory.resetPeak();
    expect(device.memory.peak).toBe(40);
    device.free(b);
    expect(device.memory.bytes).toBe(0);
  });

  test('fills fresh floats with NaN under poison', async () => {
    const device = poisoned();
    expect(await device.read(device.alloc('float', 2))).toEqual(new Float64Array([NaN, NaN]));
  });

  test('views share memory', async () => {
    const device = createReferenceDevice();
    const whole = device.alloc('float', 5);
    device.write(whole, new Float64Array([1, 2, 3, 4, 5]));
    device.write(device.view(whole, 1, 3), new Float64Array([7, 8, 9]));
    expect(await device.read(whole)).toEqual(new Float64Array([1, 7, 8, 9, 5]));
    expect(() => device.view(whole, 3, 3)).toThrow('view of 3 elements at 3 leaves a buffer of 5');
    expect(() => device.free(device.view(whole, 0, 1))).toThrow('free of a view');
  });

  test('refuses freed memory, wrong lengths and wrong types', () => {
    const device = createReferenceDevice();
    const { kernels } = device;
    const [x, tokens] = [device.alloc('float', 4), device.alloc('int32', 4)];
    expect(() => device.write(x, new Float64Array(3))).toThrow('write of 3 elements to a buffer of 4');
    expect(() => kernels.fill(x, 0, 5)).toThrow('ask for 5 float elements, the buffer has 4');
    expect(() => kernels.fill(tokens, 0, 4)).toThrow('expected a float buffer, got int32');
    const part = device.view(x, 0, 2);
    device.free(x);
    expect(() => kernels.copy(part, part, 2)).toThrow('after free');
    const foreign = { dtype: 'float', length: 2 } as const;
    expect(() => kernels.copy(foreign, foreign, 2)).toThrow('another device');
  });
});

test('kernels refuse tokens outside of the vocabulary', () => {
  const device = createReferenceDevice();
  const [y, table, tokens] = [device.alloc('float', 2), device.alloc('float', 3), device.alloc('int32', 2)];
  const embed = () => device.kernels.embeddingForward(y, tokens, table, 2, 1, 3);
  device.write(tokens, new Int32Array([0, 3]));
  expect(embed).toThrow('token 3 at position 1');
  device.write(tokens, new Int32Array([0, -1]));
  expect(embed).toThrow('token -1 at position 1');
});
