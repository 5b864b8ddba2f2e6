/**
 * @file Times decoding of xLSTM Large with random bf16 weights on a GPU, one graph per token:
 * `npx tsx bench/cuda/decode.ts [--dim 4096] [--blocks 32] [--heads 8] [--vocab 50304] [--batch 1,16] [--tokens 20]`.
 * It first shows that a replayed token has the bits of one that was not recorded, and that a small model agrees with the
 * reference. A token must read all weights once and read and write the state once; the floor is that over the rate of a copy
 * measured in the same run.
 */
import { parseArgs } from 'node:util';
import { createCudaDevice, type CudaDevice } from '../../src/device/cuda/cuda.js';
import { bytesOf, type Device } from '../../src/device/device.js';
import type { DeviceBuffer } from '../../src/device/kernels.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import { formatBytes } from '../../src/format.js';
import type { LanguageModel } from '../../src/model/language-model.js';
import { scope } from '../../src/tensor/scope.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { median, printTable } from '../table.js';
import { large, randomModel, relativeRms, sizeOptions } from './large.js';

const { values } = parseArgs({
  options: {
    ...sizeOptions(4096, 32, 8),
    batch: { type: 'string', default: '1,16' },
    tokens: { type: 'string', default: '20' },
  },
});

interface Decoder {
  readonly logits: DeviceBuffer;
  /** Enqueues one step of all sequences; the state goes on in place. */
  step(): void;
  restart(): void;
}

function decoder(device: Device, model: LanguageModel, B: number): Decoder {
  const V = model.config.vocabSize;
  const tokens = new Tensor(device, [B], device.alloc('int32', B));
  device.write(
    tokens.buffer,
    Int32Array.from({ length: B }, (_, b) => (7 * b + 3) % V),
  );
  const state = model.initialState(B);
  const logits = device.alloc('float', B * V);
  return {
    logits,
    step: () =>
      scope(device, {}, () => {
        const { logits: found, state: next } = model.step(tokens, state, { inPlace: true });
        device.kernels.copy(logits, found.buffer, B * V);
        next.tensors.forEach((tensor, k) => {
          const to = state.tensors[k]!;
          if (to.buffer !== tensor.buffer) device.kernels.copy(to.buffer, tensor.buffer, to.size);
        });
      }),
    restart() {
      const fresh = model.initialState(B);
      state.tensors.forEach((to, k) => device.kernels.copy(to.buffer, fresh.tensors[k]!.buffer, to.size));
      for (const { buffer } of fresh.tensors) device.free(buffer);
    },
  };
}

/** @throws Error where a small model's logits differ from the reference's. */
async function prove(device: Device): Promise<void> {
  const config = large(256, 2, 2, 300);
  const [ours, exact] = [device, createReferenceDevice()].map((one) => decoder(one, randomModel(one, config), 3)) as [
    Decoder,
    Decoder,
  ];
  for (let k = 0; k < 5; k++) for (const one of [ours, exact]) one.step();
  const error = relativeRms(await device.read(ours.logits), await createReferenceDevice().read(exact.logits));
  console.log(
    `logits of a small model after 5 tokens: relative RMS ${error.toExponential(1)} from the reference (at most 2e-5)`,
  );
  if (!(error <= 2e-5)) throw new Error('wrong logits');
}

async function measure(device: CudaDevice, model: LanguageModel, B: number, copyRate: number): Promise<string[]> {
  const one = decoder(device, model, B);
  one.step();
  one.step();
  const plain = await device.read(one.logits);
  one.restart();
  const graph = device.recorder.record(() => one.step());
  graph.launch();
  graph.launch();
  const replayed = await device.read(one.logits);
  if (!plain.every((x, k) => Object.is(x, replayed[k]))) throw new Error(`batch ${B}: a replayed token has other bits`);
  const times = Array.from({ length: Number(values.tokens) }, () => device.time(() => graph.launch()));
  const direct = Array.from({ length: 5 }, () => device.time(() => one.step()));
  const embedding = bytesOf(device, model.tensors['embedding.weight']!.buffer);
  const bytes = model.parameterBytes - embedding + 8 * model.stateSize * B;
  const floor = (1e3 * bytes) / copyRate;
  const ms = median(times);
  return [
    String(B),
    formatBytes(bytes),
    floor.toFixed(2),
    ms.toFixed(2),
    `${((100 * floor) / ms).toFixed(0)} %`,
    ((1e3 * B) / ms).toFixed(0),
    median(direct).toFixed(2),
  ];
}

/** Bytes per second read and written by a large copy. */
function rateOfCopy(device: CudaDevice): number {
  const N = 1 << 28;
  const [from, to] = [device.alloc('float', N), device.alloc('float', N)];
  device.kernels.fill(from, 1, N);
  const times = Array.from({ length: 7 }, () => device.time(() => device.kernels.copy(to, from, N)));
  for (const buffer of [from, to]) device.free(buffer);
  return (8 * N) / (median(times) / 1e3);
}

const device = createCudaDevice();
console.log(device.info.description);
await prove(device);
const copyRate = rateOfCopy(device);
const [dim, blocks, heads, vocab] = (['dim', 'blocks', 'heads', 'vocab'] as const).map((name) =>
  Number(values[name]),
) as [number, number, number, number];
const model = randomModel(device, large(dim, blocks, heads, vocab));
console.log(`${formatBytes(model.parameterBytes)} of weights; a copy moves ${(copyRate / 1e12).toFixed(2)} TB/s`);
const rows: string[][] = [];
for (const B of values.batch.split(',').map(Number)) rows.push(await measure(device, model, B, copyRate));
printTable(['batch', 'bytes', 'floor ms', 'ms per token', 'of floor', 'tokens/s', 'without graph'], rows);
