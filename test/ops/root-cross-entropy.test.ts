/** @file The loss that a backward pass begins with has the gradients of the loss that it is made of. */
import { describe, expect, it } from 'vitest';
import { linearCrossEntropy, rootCrossEntropy } from '../../src/ops/linear-cross-entropy.js';
import { mul } from '../../src/ops/elementwise.js';
import { sum } from '../../src/ops/sum.js';
import { fold, normal, randomKey } from '../../src/tensor/random.js';
import { scope } from '../../src/tensor/scope.js';
import { backward } from '../../src/tensor/tape.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { relativeRms } from '../support/compare.js';
import { testDevices } from '../support/devices.js';

const [B, T, D, V] = [2, 5, 7, 11];
const SCALE = 0.3;

describe.each(testDevices())('on $name', ({ create }) => {
  const device = create();
  device.poison = true;
  const tolerance = device.precision === 'float64' ? 1e-14 : 1e-6;
  const random = (label: string, shape: number[]) =>
    Tensor.from(
      device,
      normal(
        fold(randomKey(2), label),
        shape.reduce((a, b) => a * b),
      ),
      shape,
    );

  const targets = Int32Array.from({ length: B * T }, (_, n) => (n % 4 === 3 ? -1 : (3 * n) % V));

  async function lossAndGradients(form: 'root' | 'parts', softCap: number, record = true) {
    const leaves = [random('x', [B, T, D]), random('weight', [V, D])] as const;
    const grads = leaves.map(({ size }) => device.alloc('float', size));
    leaves.forEach((leaf, k) => {
      device.kernels.fill(grads[k]!, 0, leaf.size);
      if (record) leaf.attachGrad(grads[k]!);
    });
    const loss = scope(device, { record }, () => {
      const inputs = [...leaves, Tensor.from(device, targets, [B, T])] as const;
      const scale = Tensor.full(device, [], SCALE);
      const root =
        form === 'root'
          ? rootCrossEntropy(...inputs, scale, softCap)
          : mul(sum(linearCrossEntropy(...inputs, softCap)), scale);
      if (record) backward(root.retain(), { release: true });
      return root;
    });
    const values = await Promise.all([loss.data(), ...grads.map((grad) => device.read(grad))]);
    for (const tensor of [loss, ...leaves]) tensor.dispose();
    for (const grad of grads) device.free(grad);
    return values;
  }

  it.each([0, 2])('with a soft cap of %d', async (softCap) => {
    const before = device.memory.bytes;
    const [found, expected] = [await lossAndGradients('root', softCap), await lossAndGradients('parts', softCap)];
    found.forEach((values, k) => expect(relativeRms(values, expected[k]!)).toBeLessThan(tolerance));
    expect((await lossAndGradients('root', softCap, false))[0]).toEqual(found[0]);
    expect(device.memory.bytes).toBe(before);
  });
});
