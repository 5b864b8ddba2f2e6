/**
 * @file Times training steps of xLSTM Large on a GPU, with AdamW and clipping: `npx tsx bench/cuda/train.ts --help`. It first
 * shows that float32 steps come to the losses of the CPU and that bf16 activations follow them, on a small model of the kind.
 * The arithmetic of a step is 6 N operations per token for N parameters behind the embedding, and the mLSTM's own.
 */
import { parseArgs } from 'node:util';
import { createCudaDevice } from '../../src/device/cuda/cuda.js';
import type { Device } from '../../src/device/device.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import { formatBytes, formatCount } from '../../src/format.js';
import { LanguageModel } from '../../src/model/language-model.js';
import { randomKey, uniform } from '../../src/tensor/random.js';
import type { FloatDtype } from '../../src/tensor/tensor.js';
import { Trainer, type HostBatch } from '../../src/train/trainer.js';
import { median, printTable } from '../table.js';
import { large, sizeOptions } from './large.js';
import { PROFILE_HEAD, profiled } from './profiled.js';

const HELP = `Usage: npx tsx bench/cuda/train.ts [--dim 768] [--blocks 12] [--heads 4] [--vocab 50304] [--batch 16] [--length 2048]
       [--steps 10] [--float32] [--checkpoint] [--plain] [--kernels]

  --float32     also time float32 activations
  --checkpoint  recompute each block in the backward pass
  --plain       no recording: each kernel launched by itself
  --kernels     where the time of a step goes`;

const { values } = parseArgs({
  options: {
    ...sizeOptions(768, 12, 4),
    batch: { type: 'string', default: '16' },
    length: { type: 'string', default: '2048' },
    steps: { type: 'string', default: '10' },
    float32: { type: 'boolean', default: false },
    checkpoint: { type: 'boolean', default: false },
    plain: { type: 'boolean', default: false },
    kernels: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

const [dim, blocks, heads, vocab, B, T, steps] = (
  ['dim', 'blocks', 'heads', 'vocab', 'batch', 'length', 'steps'] as const
).map((name) => Number(values[name])) as [number, number, number, number, number, number, number];

function batchOf(seed: number, V: number, batch: number, length: number): HostBatch {
  const stream = Int32Array.from(uniform(randomKey(seed), batch * length + 1, 0, V), Math.floor);
  return { B: batch, T: length, tokens: stream.slice(0, -1), targets: stream.slice(1), reset: null };
}

function trainerOf(model: LanguageModel, activations: FloatDtype, checkpointBlocks = false): Trainer {
  return new Trainer(model, {
    optimizer: { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, decay: 'matrices' },
    ...{ gradientClip: 1, checkpointBlocks, activations, stateful: false, key: randomKey(0) },
  });
}

async function losses(device: Device, activations: FloatDtype): Promise<number[]> {
  using model = LanguageModel.create(large(128, 2, 2, 64), device, 0);
  const trainer = trainerOf(model, activations);
  const found: number[] = [];
  for (let step = 0; step < 8; step++) {
    found.push((await trainer.step([batchOf(step % 2, 64, 2, 70)], 3e-3, step)).loss);
  }
  trainer.dispose();
  return found;
}

/** @throws Error where losses differ from those of the reference by more than asked. */
async function prove(device: Device): Promise<void> {
  const exact = await losses(createReferenceDevice(), 'float');
  for (const [activations, tolerance] of [
    ['float', 1e-4],
    ['bf16', 1e-2],
  ] as const) {
    const found = await losses(device, activations);
    const worst = Math.max(...found.map((loss, k) => Math.abs(loss / exact[k]! - 1)));
    console.log(
      `losses of 8 steps, ${activations}: within ${worst.toExponential(1)} of the reference (at most ${tolerance})`,
    );
    if (!(worst <= tolerance))
      throw new Error(`${activations}: losses ${found.join(' ')}, expected ${exact.join(' ')}`);
  }
}

async function time(device: Device, activations: FloatDtype): Promise<void> {
  const model = LanguageModel.create(large(dim, blocks, heads, vocab), device, 0);
  const trainer = trainerOf(model, activations, values.checkpoint);
  const batch = [batchOf(1, vocab, B, T)];
  device.memory.resetPeak();
  const times: number[] = [];
  for (let step = 0; step < steps + 3; step++) {
    const start = performance.now();
    const { loss, skipped } = await trainer.step(batch, 1e-4, step);
    if (skipped) throw new Error(`step ${step}: loss ${loss}`);
    if (step >= 3) times.push(performance.now() - start);
  }
  const ms = median(times);
  const behind = model.parameterCount - vocab * dim;
  const rate = (6 * behind * B * T) / ms / 1e9;
  console.log(
    `${formatCount(model.parameterCount)} parameters, B${B} T${T}, ${activations}: ${ms.toFixed(1)} ms, ` +
      `${((1e3 * B * T) / ms / 1e3).toFixed(1)} k tokens/s, ${rate.toFixed(0)} TFLOP/s of 6 N, ${formatBytes(device.memory.peak)} at most`,
  );
  trainer.dispose();
  model.dispose();
}

if (values.help) {
  console.log(HELP);
} else {
  const cuda = createCudaDevice();
  console.log(cuda.info.description);
  const device = values.plain ? (Object.create(cuda, { recorder: { value: undefined } }) as Device) : cuda;
  await prove(device);
  await time(device, 'bf16');
  if (values.float32) await time(device, 'float');
  if (values.kernels) {
    const { device: watched, rows } = profiled(cuda);
    await time(watched, 'bf16');
    printTable(PROFILE_HEAD, rows(steps + 3));
  }
}
