/** @file The loss with its backward pass in one op against the two passes one after the other. */
import { expect, test } from 'vitest';
import type { Device } from '../../src/device/device.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import { activate } from '../../src/ops/elementwise.js';
import { linearCrossEntropy, linearCrossEntropyBackward } from '../../src/ops/linear-cross-entropy.js';
import { sum } from '../../src/ops/sum.js';
import { normal, randomKey } from '../../src/tensor/random.js';
import { scope } from '../../src/tensor/scope.js';
import { backward } from '../../src/tensor/tape.js';
import { Tensor } from '../../src/tensor/tensor.js';

const [N, D, V] = [6, 5, 11];
const TARGETS = Int32Array.of(3, -1, 10, 0, 3, 7);

const scalar = (device: Device, value: number): Tensor => Tensor.from(device, Float64Array.of(value), []);

/** The losses and the gradients of an input and of the weight, by `run`. */
async function resultsOf(run: (hidden: Tensor, weight: Tensor, targets: Tensor) => Tensor) {
  const device = createReferenceDevice();
  const leaf = (seed: number, shape: readonly number[]) => {
    const size = shape.reduce((product, extent) => product * extent, 1);
    const tensor = Tensor.from(device, Float64Array.from(normal(randomKey(seed), size, 0, 1)), shape);
    tensor.attachGrad(device.alloc('float', size));
    device.kernels.fill(tensor.grad, 0.25, size);
    return tensor;
  };
  const [x, weight] = [leaf(1, [N, D]), leaf(2, [V, D])];
  const targets = Tensor.from(device, TARGETS, [N]);
  const losses = scope(device, { record: true }, () => run(activate(x, 'silu'), weight, targets));
  return Promise.all([losses.data(), x.gradTensor().data(), weight.gradTensor().data()]);
}

test.each([0, 1.5])('both passes at once are the two passes, with the cap %f', async (softCap) => {
  const scale = 1 / 5;
  const apart = await resultsOf((hidden, weight, targets) => {
    const losses = linearCrossEntropy(hidden, weight, targets, softCap);
    backward(sum(losses, scale));
    return losses;
  });
  const together = await resultsOf((hidden, weight, targets) =>
    linearCrossEntropyBackward(hidden, weight, targets, scalar(hidden.device, scale), { softCap, release: true }),
  );
  expect(apart[1].every((value) => value !== 0.25)).toBe(false); // the row without a target
  for (const [k, values] of apart.entries()) {
    expect(Math.hypot(...values)).toBeGreaterThan(0.1);
    for (const [n, value] of values.entries()) expect(together[k]![n]).toBeCloseTo(value, 12);
  }
});

test('a leaf needs no tape', async () => {
  const device = createReferenceDevice();
  const x = Tensor.from(device, Float64Array.of(1, 0), [1, 2]);
  const weight = Tensor.from(device, Float64Array.of(0, 0, 0, 0), [2, 2]);
  weight.attachGrad(device.alloc('float', 4));
  device.kernels.fill(weight.grad, 0, 4);
  const targets = Tensor.from(device, Int32Array.of(1), [1]);
  const losses = scope(device, {}, () => linearCrossEntropyBackward(x, weight, targets, scalar(device, 1)));
  expect([...(await losses.data())]).toEqual([Math.log(2)]);
  expect([...(await weight.gradTensor().data())]).toEqual([0.5, 0, -0.5, 0]);
});
