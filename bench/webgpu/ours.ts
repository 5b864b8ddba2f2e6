/** @file The cases of the benches of WebGPU on a device of ours, with the public ops; any device will do. */
import type { Device } from '../../src/device/device.js';
import { Activation } from '../../src/device/kernels.js';
import { activate } from '../../src/ops/elementwise.js';
import { linear } from '../../src/ops/linear.js';
import { linearCrossEntropy } from '../../src/ops/linear-cross-entropy.js';
import { lstm } from '../../src/ops/recurrent.js';
import { sum } from '../../src/ops/sum.js';
import { scope } from '../../src/tensor/scope.js';
import { backward } from '../../src/tensor/tape.js';
import { Tensor } from '../../src/tensor/tensor.js';
import type { LstmInputs, MatmulInputs, MlpInputs } from './cases.js';
import { LOSSES, type Contender, type Prepared } from './contender.js';

function matmul(device: Device, { M, N, K, a, b }: MatmulInputs): Prepared {
  const [first, second] = [Tensor.from(device, a, [M, K]), Tensor.from(device, b, [K, N])];
  const product = Tensor.from(device, new Float32Array(M * N), [M, N]);
  const [x, y, c] = [first.buffer, second.buffer, product.buffer];
  const last = device.view(c, M * N - 1, 1);
  const enqueue = (): void =>
    device.kernels.matmul(c, x, y, null, M, N, K, false, false, K, N, N, false, Activation.none);
  return {
    async calls(count) {
      for (let call = 0; call < count; call++) enqueue();
      await device.read(last);
    },
    async outputs() {
      enqueue();
      return product.data();
    },
    dispose: () => [first, second, product].forEach((tensor) => tensor.dispose()),
  };
}

/** Plain gradient descent on the mean of `losses`, the losses of `count` targets. */
function training(
  device: Device,
  inputs: readonly Tensor[],
  weights: readonly Tensor[],
  { learningRate, targets }: { readonly learningRate: number; readonly targets: Int32Array },
  losses: () => Tensor,
): Prepared {
  for (const weight of weights) weight.attachGrad(device.alloc('float', weight.size));
  const step = async (): Promise<number> => {
    for (const weight of weights) device.kernels.fill(weight.grad, 0, weight.size);
    const loss = scope(device, { record: true }, () => {
      const mean = sum(losses(), 1 / targets.length).retain();
      backward(mean, { release: true });
      return mean;
    });
    for (const weight of weights) device.kernels.accumulate(weight.buffer, weight.grad, -learningRate, weight.size);
    const [value] = await loss.data();
    loss.dispose();
    return value!;
  };
  return {
    async calls(count) {
      for (let call = 0; call < count; call++) await step();
    },
    async outputs() {
      const values: number[] = [];
      while (values.length < LOSSES) values.push(await step());
      return values;
    },
    dispose: () => [...inputs, ...weights].forEach((tensor) => tensor.dispose()),
  };
}

function mlp(device: Device, inputs: MlpInputs): Prepared {
  const { N, D, H, V } = inputs;
  const x = Tensor.from(device, inputs.x, [N, D]);
  const [w1, w2] = [Tensor.from(device, inputs.w1, [H, D]), Tensor.from(device, inputs.w2, [V, H])];
  const targets = Tensor.from(device, inputs.targets, [N]);
  return training(device, [x, targets], [w1, w2], inputs, () =>
    linearCrossEntropy(activate(linear(x, w1), 'relu'), w2, targets),
  );
}

function lstmModel(device: Device, inputs: LstmInputs): Prepared {
  const { B, T, D, H, V } = inputs;
  const x = Tensor.from(device, inputs.x, [B, T, D]);
  const targets = Tensor.from(device, inputs.targets, [B, T]);
  const gates = [0, 1, 2, 3].map((gate) =>
    Tensor.from(device, inputs.input.subarray(gate * H * D, (gate + 1) * H * D), [H, D]),
  ) as [Tensor, Tensor, Tensor, Tensor];
  const recurrent = Tensor.from(device, inputs.recurrent, [1, 4 * H, H]);
  const bias = Tensor.from(device, inputs.bias, [4 * H]);
  const output = Tensor.from(device, inputs.output, [V, H]);
  return training(device, [x, targets], [...gates, recurrent, bias, output], inputs, () => {
    const [i, f, z, o] = gates.map((gate) => linear(x, gate)) as [Tensor, Tensor, Tensor, Tensor]; // [B,T,H]
    return linearCrossEntropy(lstm({ i, f, z, o }, recurrent, bias)[0], output, targets);
  });
}

export const contenderOn = (device: Device): Contender => ({
  adapter: device.info.description,
  matmul: async (inputs) => matmul(device, inputs),
  mlp: async (inputs) => mlp(device, inputs),
  lstm: async (inputs) => lstmModel(device, inputs),
});
