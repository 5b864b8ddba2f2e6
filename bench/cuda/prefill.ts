/**
 * @file Times reading a long prompt with xLSTM Large, random bf16 weights and bf16 activations, on a GPU:
 * `npx tsx bench/cuda/prefill.ts [--dim 4096] [--blocks 32] [--heads 8] [--vocab 50304] [--tokens 8192] [--kernels]`.
 * It first shows that a small model's logits and state are those of the reference. The floor is the products' operations
 * over the rate of a large bf16 product measured in the same run. `--kernels` says which kernel takes how long.
 */
import { parseArgs } from 'node:util';
import { createCudaDevice, type CudaDevice } from '../../src/device/cuda/cuda.js';
import type { Device } from '../../src/device/device.js';
import { Activation } from '../../src/device/kernels.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import { formatBytes, formatCount } from '../../src/format.js';
import type { LanguageModel } from '../../src/model/language-model.js';
import { normal, randomKey } from '../../src/tensor/random.js';
import { scope } from '../../src/tensor/scope.js';
import { Tensor, type FloatDtype } from '../../src/tensor/tensor.js';
import { median, printTable } from '../table.js';
import { large, randomModel, relativeRms, sizeOptions } from './large.js';
import { PROFILE_HEAD, profiled } from './profiled.js';

const { values } = parseArgs({
  options: {
    ...sizeOptions(4096, 32, 8),
    tokens: { type: 'string', default: '8192' },
    kernels: { type: 'boolean', default: false },
  },
});

const promptOf = (T: number, V: number): Int32Array => Int32Array.from({ length: T }, (_, t) => (t * 7919 + 13) % V);

/** Logits [1,V] behind the last token, and the state there; belonging to the caller. */
function prefill(device: Device, model: LanguageModel, prompt: Int32Array, activations: FloatDtype) {
  return scope(device, {}, () => {
    const T = prompt.length;
    const { hidden, state } = model.forward(Tensor.from(device, prompt, [1, T]), { activations });
    const last = hidden.reshape([T, hidden.extent(-1)]).rows(T - 1, T);
    return { logits: model.logits(last), state };
  });
}

/** @throws Error where a small model's logits or states differ from the reference's. */
async function prove(device: Device): Promise<void> {
  const reference = createReferenceDevice();
  const config = large(256, 2, 2, 300);
  const prompt = promptOf(300, 300);
  const exact = prefill(reference, randomModel(reference, config), prompt, 'float');
  for (const [activations, tolerance] of [
    ['float', 2e-5],
    ['bf16', 2e-2],
  ] as const) {
    const ours = prefill(device, randomModel(device, config), prompt, activations);
    const errors = await Promise.all(
      [ours.logits, ...ours.state.tensors].map(async (tensor, k) =>
        relativeRms(await tensor.data(), await [exact.logits, ...exact.state.tensors][k]!.data()),
      ),
    );
    const worst = Math.max(...errors);
    console.log(
      `${activations}: logits and states within ${worst.toExponential(1)} of the reference (at most ${tolerance})`,
    );
    if (!(worst <= tolerance)) throw new Error(`${activations}: wrong: ${errors.join(' ')}`);
  }
}

/** Operations per second of a bf16 product of 8192 rows, columns and terms. */
function rateOfProduct(device: CudaDevice): number {
  const n = 8192;
  const floats = device.alloc('float', n * n);
  device.write(floats, normal(randomKey(3), n * n));
  const [a, b, c] = [device.alloc('bf16', n * n), device.alloc('bf16', n * n), device.alloc('bf16', n * n)];
  for (const matrix of [a, b]) device.cast(matrix, floats);
  device.free(floats);
  const run = (): void => device.kernels.matmul(c, a, b, null, n, n, n, false, true, n, n, n, false, Activation.none);
  const times = Array.from({ length: 7 }, () => device.time(run));
  for (const buffer of [a, b, c]) device.free(buffer);
  return (2 * n ** 3) / (median(times) / 1e3);
}

const device = createCudaDevice();
console.log(device.info.description);
await prove(device);
const rate = rateOfProduct(device);
const [dim, blocks, heads, vocab, T] = (['dim', 'blocks', 'heads', 'vocab', 'tokens'] as const).map((name) =>
  Number(values[name]),
) as [number, number, number, number, number];
const config = large(dim, blocks, heads, vocab);
const prompt = promptOf(T, vocab);

async function run(on: Device, model: LanguageModel): Promise<void> {
  const { logits, state } = prefill(on, model, prompt, 'bf16');
  const [first] = await logits.data();
  if (!Number.isFinite(first)) throw new Error(`a logit is ${first}`);
  logits.dispose();
  state.dispose();
}

const model = randomModel(device, config);
device.memory.resetPeak();
await run(device, model);
await run(device, model);
const times: number[] = [];
for (let k = 0; k < 5; k++) {
  const start = performance.now();
  await run(device, model);
  times.push(performance.now() - start);
}
const ms = median(times);
const embedding = model.tensors['embedding.weight']!.size + model.tensors['head.weight']!.size;
const operations = 2 * (model.parameterCount - embedding) * T;
console.log(
  `${formatCount(model.parameterCount)} parameters, ${formatCount(T)} tokens: ${ms.toFixed(1)} ms, ` +
    `${((1e3 * T) / ms / 1e3).toFixed(1)} k tokens/s, ${(operations / ms / 1e9).toFixed(0)} of ${(rate / 1e12).toFixed(0)} TFLOP/s, ` +
    `floor ${((1e3 * operations) / rate).toFixed(1)} ms, ${formatBytes(device.memory.peak)} at most`,
);
if (values.kernels) {
  model.dispose();
  const { device: watched, rows } = profiled(device);
  await run(watched, randomModel(watched, config));
  printTable(PROFILE_HEAD, rows(1));
}
