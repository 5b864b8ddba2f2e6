/** @file Scopes and the tape: who owns memory, what backward frees, and the sentences of errors. */
import { describe, expect, it } from 'vitest';
import { activate, add, mul } from '../../src/ops/elementwise.js';
import { sum } from '../../src/ops/sum.js';
import { scope } from '../../src/tensor/scope.js';
import { backward } from '../../src/tensor/tape.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { testDevices } from '../support/devices.js';

describe.each(testDevices())('on $name', ({ create }) => {
  const device = create();

  it('a scope frees what it made, but for what it returns', async () => {
    const y = scope(device, {}, () => {
      const x = Tensor.from(device, [1, 2, 3], [3]);
      return add(add(x, x), x);
    });
    expect([...(await y.data())]).toEqual([3, 6, 9]);
    expect(device.memory.bytes).toBe(3 * (device.precision === 'float64' ? 8 : 4));
    y.dispose();
    expect(device.memory.bytes).toBe(0);
  });

  it('returns pass to the enclosing scope, through arrays and objects', () => {
    scope(device, {}, () => {
      const { list } = scope(device, {}, () => ({ list: [Tensor.full(device, [4], 1)] }));
      scope(device, {}, () => list[0]!.reshape([2, 2]));
      expect(device.memory.bytes).toBeGreaterThan(0);
    });
    expect(device.memory.bytes).toBe(0);
  });

  it('a body that throws frees all', () => {
    const body = () => {
      Tensor.full(device, [100], 1);
      throw new Error('stop');
    };
    expect(() => scope(device, {}, body)).toThrow('stop');
    expect(device.memory.bytes).toBe(0);
  });

  it('ops outside of a scope and async bodies are refused', () => {
    using x = Tensor.full(device, [2], 1);
    expect(() => add(x, x)).toThrow('ops need a scope that owns their results');
    // oxlint-disable-next-line typescript/no-floating-promises
    expect(() => scope(device, {}, async () => 1)).toThrow('must not be async');
  });

  it.each([true, false])(
    'a sum and its terms share a gradient until one is added to (release: %s)',
    async (release) => {
      const at = [-1.5, -0.3, 0, 0.4, 2];
      using x = Tensor.from(device, at, [5]);
      using grad = Tensor.full(device, [5], 0);
      x.attachGrad(grad.buffer);
      scope(device, { record: true }, () => {
        const p = activate(x, 'tanh');
        const twice = add(p, p);
        const branch = add(twice, mul(twice, twice)); // a residual branch that reads what it is added to
        const square = mul(branch, branch);
        // The second root reads the sum beside the rule that shared its gradient.
        backward(
          [branch, square].map((y) => [y, Tensor.full(device, [5], 1)] as const),
          { release },
        );
      });
      const expected = at.map((value) => {
        const p = Math.tanh(value);
        const branch = 2 * p + 4 * p * p;
        return (1 + 2 * branch) * (2 + 8 * p) * (1 - p * p);
      });
      const actual = await grad.data();
      expected.forEach((value, k) => expect(actual[k]).toBeCloseTo(value, 4));
    },
  );

  it('a chain of residual branches hands its gradient down without a copy', () => {
    let copies = 0;
    const copy = (...args: Parameters<typeof device.kernels.copy>) => {
      copies++;
      device.kernels.copy(...args);
    };
    const watched = Object.create(device, { kernels: { value: { ...device.kernels, copy } } }) as typeof device;
    using x = Tensor.full(watched, [7], 0.5);
    using grad = Tensor.full(watched, [7], 0);
    x.attachGrad(grad.buffer);
    scope(watched, { record: true }, () => {
      let y = activate(x, 'tanh');
      for (let k = 0; k < 3; k++) y = add(y, activate(activate(y, 'sigmoid'), 'silu'));
      backward(sum(y), { release: true });
    });
    expect(copies).toBe(0);
  });

  it('backward with release frees as it goes, and keeps what is retained', async () => {
    using x = Tensor.full(device, [1000], 0.5);
    using grad = Tensor.full(device, [1000], 0);
    x.attachGrad(grad.buffer);
    device.memory.resetPeak();
    const [kept, loss] = scope(device, { record: true }, () => {
      let y = x;
      for (let k = 0; k < 10; k++) y = activate(y, 'tanh');
      const square = mul(y, y).retain();
      const total = sum(square).retain();
      backward(total, { release: true });
      expect(() => add(y, y)).toThrow('free');
      return [square, total];
    });
    expect((await kept.data())[0]! * 1000).toBeCloseTo(await loss.item(), 4);
    expect((await grad.data())[7]).toBeGreaterThan(0);
    kept.dispose();
    loss.dispose();
  });

  it('nothing recorded, a root that is no scalar: one sentence each', () => {
    scope(device, {}, () => {
      const x = Tensor.full(device, [2], 1);
      expect(() => backward(x)).toThrow('backward: nothing was recorded');
    });
    scope(device, { record: true }, () => {
      const x = Tensor.full(device, [2], 1);
      x.requiresGrad = true;
      expect(() => backward(add(x, x))).toThrow('a root without cotangent must be a scalar, got [2]');
    });
  });

  it('wrong shapes name both', () => {
    scope(device, {}, () => {
      const a = Tensor.full(device, [2, 3], 1);
      const b = Tensor.full(device, [3, 2], 1);
      expect(() => add(a, b)).toThrow('add: b must be [2,3], got [3,2]');
      expect(() => a.reshape([5])).toThrow('reshape: [2,3] has 6 elements, [5] 5');
    });
    expect(() => Tensor.from(device, [1, 2], [3])).toThrow('2 values do not fill shape [3] (3 elements)');
  });
});
