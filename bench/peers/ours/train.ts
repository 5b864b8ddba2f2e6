/** @file Training steps of a language model from a model folder, on one batch again and again. */
import { createCpuDevice } from '../../../src/device/cpu/cpu.js';
import { loadModel } from '../../../src/model/checkpoint.js';
import { openSafetensors } from '../../../src/model/safetensors.js';
import { randomKey } from '../../../src/tensor/random.js';
import { Trainer } from '../../../src/train/trainer.js';
import { answer, readJob, time } from './job.js';
import { forwardFlops } from './flops.js';

const job = readJob<{ folder: string; batch: string; learningRate: number }>();
const device = createCpuDevice({ threads: job.threads });
const { model } = loadModel(job.folder, device);
const file = openSafetensors(job.batch);
const [B, T] = file.tensors.get('tokens')!.shape as [number, number];
const read = (name: string) => file.read(name) as Int32Array;
const batch = { B, T, tokens: read('tokens'), targets: read('targets'), reset: null };
const trainer = new Trainer(model, {
  optimizer: { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, decay: 'all' },
  gradientClip: 1,
  checkpointBlocks: false,
  stateful: false,
  key: randomKey(0),
});
let index = 0;
const step = () => trainer.step([batch], job.learningRate, index++);

const steps = [await step(), await step(), await step()];
const seconds = await time(job, step);
answer({
  seconds: { '': seconds },
  outputs: { loss: steps.map(({ loss }) => loss), gradientNorm: steps.map(({ gradientNorm }) => gradientNorm) },
  work: { '': { flops: 3 * forwardFlops(model, T) * B * T } }, // backward: two products for each one of the forward pass
});
