/** @file Proves a training step on the CPU right before it is timed: 20 losses recorded from PyTorch. */
import { createCpuDevice } from '../src/device/cpu/cpu.js';
import { randomKey } from '../src/tensor/random.js';
import { Trainer } from '../src/train/trainer.js';
import { modelFromNxai } from '../test/support/models.js';
import { readGolden } from '../test/support/safetensors.js';

/** @throws Error when a loss is more than 2e-3 away from the recorded one. */
export async function proveTrainCurve(): Promise<void> {
  const golden = readGolden('train_curve');
  const [, B, length] = golden.tensors['batches']!.shape as [number, number, number];
  const stream = golden.tensors['batches']!.data as Int32Array;
  const T = length - 1;
  const config = { vocabSize: 65, dim: 64, blocks: ['mlstm', 'slstm', 'mlstm', 'mlstm'] };
  using model = modelFromNxai(config, createCpuDevice(), golden, 'init.');
  const trainer = new Trainer(model, {
    optimizer: { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, decay: 'all' },
    gradientClip: 1,
    checkpointBlocks: false,
    stateful: false,
    key: randomKey(0),
  });
  let worst = 0;
  for (let step = 0; step < 20; step++) {
    const rows = (shift: number) =>
      Int32Array.from({ length: B * T }, (_, k) => stream[(step * B + Math.floor(k / T)) * length + (k % T) + shift]!);
    const { loss } = await trainer.step(
      [{ B, T, tokens: rows(0), targets: rows(1), reset: null }],
      3e-3 * Math.min(1, (step + 1) / 10),
      step,
    );
    worst = Math.max(worst, Math.abs(loss - (golden.tensors['losses']!.data as Float32Array)[step]!));
  }
  trainer.dispose();
  if (!(worst < 2e-3)) throw new Error(`the training step is wrong: a loss is ${worst} away from the recorded one`);
  console.log(`checked: 20 training losses within ${worst.toExponential(1)} of those recorded from PyTorch`);
}
