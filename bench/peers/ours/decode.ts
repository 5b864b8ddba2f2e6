/** @file Reads a prompt, or continues it greedily token by token, with a model folder in one of its storages. */
import { createCpuDevice } from '../../../src/device/cpu/cpu.js';
import { bytesOf } from '../../../src/device/device.js';
import { Session } from '../../../src/generate/decode.js';
import { largestLogit } from '../../../src/generate/largest-logit.js';
import { loadModel, type LoadModelOptions } from '../../../src/model/checkpoint.js';
import { openSafetensors } from '../../../src/model/safetensors.js';
import { size } from '../../../src/tensor/shape.js';
import { forwardFlops } from './flops.js';
import { answer, readJob, time, timeBesideReading } from './job.js';

const job = readJob<{
  folder: string;
  prompt: string;
  storage: 'float32' | 'stored' | 'int8' | 'int4';
  prefill?: boolean;
}>();
const device = createCpuDevice({ threads: job.threads });
// The folder holds bf16: what is to be trained is widened to float32.
const options: LoadModelOptions = job.storage === 'float32' ? { trainable: true } : { storage: job.storage };
const { model } = loadModel(job.folder, device, options);
const prompt = openSafetensors(job.prompt).read('tokens') as Int32Array;

/** The logits after the prompt, of which the first thousand are compared. */
const session = new Session(model);
await session.read(prompt);
const outputs = { logits: [...session.logits!.subarray(0, 1000)] };

async function prefill(): Promise<void> {
  using session = new Session(model);
  await session.read(prompt);
}

const next = (): Promise<void> => session.read(Int32Array.of(largestLogit(session.logits! as Float64Array)));

const timed = job.prefill ? { seconds: await time(job, prefill) } : await timeBesideReading(job, next);
const T = prompt.length;
/** Of a prompt, what the last block computes for its last token alone: the output gate and what follows the cell. */
const onlyLast = Object.entries(model.blocks.at(-1)!.parameters)
  .filter(([name]) => /^(mixer\.(ogate|out)|feedForward)\./.test(name))
  .reduce((sum, [, { shape }]) => sum + 2 * size(shape), 0);
const flops = job.prefill
  ? T * (model.backbone.flopsPerToken(T) - onlyLast) + 2 * model.config.dim * model.config.vocabSize
  : forwardFlops(model, 1);
// A token reads all matrices but the rows of the embedding that are not its own, and reads and writes the state.
const bytes = model.parameterBytes - bytesOf(device, model.tensors['embedding.weight']!.buffer) + 8 * model.stateSize;
answer({
  ...timed,
  seconds: { '': timed.seconds },
  outputs,
  work: { '': job.prefill ? { flops } : { flops, bytes } },
});
