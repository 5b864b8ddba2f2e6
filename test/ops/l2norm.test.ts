/** @file Vectors of length one, per head. Its gradient is checked with those of the other ops. */
import { expect, test } from 'vitest';
import { l2norm } from '../../src/ops/l2norm.js';
import { scope } from '../../src/tensor/scope.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { testDevices } from '../support/devices.js';

test.each(testDevices())('$name: each head has length one, and a vector of zeros stays', async ({ create }) => {
  const device = create();
  const x = Tensor.from(device, [3, 4, 0, 5, 0, 0, 0.6, -0.8], [2, 4]);
  const y = scope(device, {}, () => l2norm(x, { groups: 2, eps: 1e-12 }));
  const expected = [0.6, 0.8, 0, 1, 0, 0, 0.6, -0.8];
  (await y.data()).forEach((value, k) => expect(value).toBeCloseTo(expected[k]!, 6));
  y.dispose();
  const whole = scope(device, {}, () => l2norm(x, { eps: 39 }));
  // 9 + 16 + 25 + 39 = 89; 0.36 + 0.64 + 39 = 40
  (await whole.data()).forEach((value, k) => {
    expect(value).toBeCloseTo([3, 4, 0, 5, 0, 0, 0.6, -0.8][k]! / Math.sqrt(k < 4 ? 89 : 40), 6);
  });
  whole.dispose();
  x.dispose();
});
