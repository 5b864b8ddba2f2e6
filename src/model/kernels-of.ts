/**
 * @file Which kernels a model calls: it is run on a device that computes nothing and notes their names. So a device that
 * lacks some can be chosen where it has those that matter.
 */
import type { Device } from '../device/device.js';
import type { DeviceBuffer, Dtype, KernelName, Kernels } from '../device/kernels.js';
import { randomKey } from '../tensor/random.js';
import { scope } from '../tensor/scope.js';
import { backward } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';
import type { ModelConfigInput } from './config.js';
import { LanguageModel } from './language-model.js';

/** Training calls the kernels of the backward pass, the loss and the optimizer besides those of inference. */
export function kernelsOf(config: ModelConfigInput, { training }: { readonly training: boolean }): Set<KernelName> {
  const called = kernelsCalled((device) => runOnce(config, device, training));
  return training ? withUpdate(called) : called;
}

/** With those of the optimizer, whatever the model. */
export const withUpdate = (called: Set<KernelName>): Set<KernelName> => called.add('sumOfSquares').add('adamw');

/** The kernels that `run` calls on the device it is given, which computes nothing. */
export function kernelsCalled(run: (device: Device) => void): Set<KernelName> {
  const called = new Set<KernelName>();
  run(notingDevice(called));
  return called;
}

function runOnce(config: ModelConfigInput, device: Device, training: boolean): void {
  // Blocks of one kind call the same.
  const kinds = config.blocks === undefined ? {} : { blocks: [...new Set(config.blocks)] };
  using model = new LanguageModel({ ...config, ...kinds }, device);
  const [B, T] = [1, 2];
  const tokens = () => Tensor.from(device, new Int32Array(B * T), [B, T]);
  scope(device, {}, () => {
    const { hidden, state } = model.forward(tokens());
    model.logits(hidden);
    model.forward(tokens(), { outputs: 'last' }); // as a prompt is read
    model.step(Tensor.from(device, new Int32Array(B), [B]), state);
  });
  if (!training) return;
  scope(device, {}, () => model.losses(tokens(), tokens()));
  model.parameters.zeroGradients();
  scope(device, { record: true }, () => {
    backward(model.rootLoss(tokens(), tokens(), Tensor.full(device, [], 1), { key: randomKey(0) }).loss);
  });
}

function notingDevice(called: Set<KernelName>): Device {
  const kernels = new Proxy({} as Kernels, {
    get: (_, name) => () => void called.add(name as KernelName),
  });
  const bufferOf = (dtype: Dtype, length: number): DeviceBuffer => ({ dtype, length });
  return {
    name: 'reference',
    precision: 'float32',
    hasBf16: false,
    kernels,
    info: { description: 'notes what is called', threads: 1 },
    absent: new Map(),
    alloc: bufferOf,
    share: (dtype, { length }) => bufferOf(dtype, dtype === 'float' ? length / 4 : length),
    free: () => {},
    view: ({ dtype }, _, length) => bufferOf(dtype, length),
    write: () => {},
    cast: () => {},
    read: ({ length }) => Promise.resolve(new Float32Array(length)),
    memory: { bytes: 0, peak: 0, resetPeak: () => {} },
    poison: false,
  };
}
