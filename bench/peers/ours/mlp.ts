/** @file Training steps of a language model of two layers: relu(x w1^T) w2^T, cross-entropy, plain gradient descent. */
import { createCpuDevice } from '../../../src/device/cpu/cpu.js';
import { openSafetensors } from '../../../src/model/safetensors.js';
import { activate } from '../../../src/ops/elementwise.js';
import { linear } from '../../../src/ops/linear.js';
import { rootCrossEntropy } from '../../../src/ops/linear-cross-entropy.js';
import { scope } from '../../../src/tensor/scope.js';
import { backward } from '../../../src/tensor/tape.js';
import { Tensor } from '../../../src/tensor/tensor.js';
import { answer, readJob, time } from './job.js';

const job = readJob<{ weights: string; learningRate: number }>();
const device = createCpuDevice({ threads: job.threads });
const file = openSafetensors(job.weights);
const shapeOf = (name: string) => file.tensors.get(name)!.shape;
const targets = Tensor.from(device, file.read('targets') as Int32Array, shapeOf('targets'));
const x = Tensor.from(device, file.readFloat32('x'), shapeOf('x')); // [N,D]
const scale = Tensor.from(device, Float64Array.of(1 / targets.size), []);
const weights = ['w1', 'w2'].map((name) => {
  const weight = Tensor.from(device, file.readFloat32(name), shapeOf(name));
  weight.attachGrad(device.alloc('float', weight.size));
  return weight;
}) as [Tensor, Tensor]; // [H,D] and [V,H]

async function step(): Promise<number> {
  for (const weight of weights) device.kernels.fill(weight.grad, 0, weight.size);
  const loss = scope(device, { record: true }, () => {
    const hidden = activate(linear(x, weights[0]), 'relu'); // [N,H]
    const mean = rootCrossEntropy(hidden, weights[1], targets, scale).retain();
    backward(mean, { release: true });
    return mean;
  });
  for (const weight of weights) {
    device.kernels.accumulate(weight.buffer, weight.grad, -job.learningRate, weight.size);
  }
  const [value] = await loss.data();
  loss.dispose();
  return value!;
}

const losses = [await step(), await step(), await step()];
const seconds = await time(job, step);
const [N, D] = x.shape as [number, number];
const [H, V] = [weights[0].extent(0), weights[1].extent(0)];
// Forward two products, backward three: x has no gradient.
answer({ seconds: { '': seconds }, outputs: { losses }, work: { '': { flops: 2 * N * H * (2 * D + 3 * V) } } });
