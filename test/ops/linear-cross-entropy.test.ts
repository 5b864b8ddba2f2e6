/** @file The loss with its gradients in one op against the two passes one after the other. */
import { expect, test } from 'vitest';
import type { Device } from '../../src/device/device.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import { activate, mul } from '../../src/ops/elementwise.js';
import { linearCrossEntropy, rootCrossEntropy } from '../../src/ops/linear-cross-entropy.js';
import { sum } from '../../src/ops/sum.js';
import { normal, randomKey } from '../../src/tensor/random.js';
import { scope } from '../../src/tensor/scope.js';
import { backward } from '../../src/tensor/tape.js';
import { Tensor } from '../../src/tensor/tensor.js';

const [N, D, V] = [6, 5, 11];
const TARGETS = Int32Array.of(3, -1, 10, 0, 3, 7);

const scalar = (device: Device, value: number): Tensor => Tensor.from(device, Float64Array.of(value), []);

type Loss = (hidden: Tensor, weight: Tensor, targets: Tensor, scale: Tensor) => Tensor;

/** A loss and the gradients of an input and of the weight, which begin at 0.25. */
async function resultsOf(lossOf: Loss) {
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
  const loss = scope(device, { record: true }, () => {
    const loss = lossOf(activate(x, 'silu'), weight, targets, scalar(device, 1 / 5)).retain();
    backward(loss, { release: true });
    return loss;
  });
  return Promise.all([loss.data(), x.gradTensor().data(), weight.gradTensor().data()]);
}

test.each([0, 1.5])('the root is the sum of losses, with its gradients; cap %f', async (softCap) => {
  const apart = await resultsOf((hidden, weight, targets, scale) =>
    mul(sum(linearCrossEntropy(hidden, weight, targets, softCap)), scale),
  );
  const together = await resultsOf((...inputs) => rootCrossEntropy(...inputs, softCap));
  expect(apart[1].every((value) => value !== 0.25)).toBe(false); // the row without a target
  for (const [k, values] of apart.entries()) {
    expect(Math.hypot(...values)).toBeGreaterThan(0.1);
    for (const [n, value] of values.entries()) expect(together[k]![n]).toBeCloseTo(value, 12);
  }
});

test('without gradients it is the same number', async () => {
  const device = createReferenceDevice();
  const [x, weight] = [Tensor.from(device, Float64Array.of(1, 0), [1, 2]), Tensor.full(device, [2, 2], 0)];
  const targets = Tensor.from(device, Int32Array.of(1), [1]);
  const loss = scope(device, {}, () => rootCrossEntropy(x, weight, targets, scalar(device, 3)));
  expect([...(await loss.data())]).toEqual([3 * Math.log(2)]);
});
