/** @file 60 training steps against PyTorch: NX-AI/xlstm 2.0.5 with torch.optim.AdamW on the same batches. */
import { describe, expect, it } from 'vitest';
import { randomKey } from '../../src/tensor/random.js';
import { Trainer } from '../../src/train/trainer.js';
import { testDevices } from '../support/devices.js';
import { modelFromNxai } from '../support/models.js';
import { readGolden } from '../support/safetensors.js';

const golden = readGolden('train_curve');
const settings = JSON.parse(golden.metadata['json']!);
const [steps, B, length] = golden.tensors['batches']!.shape as [number, number, number];
const batches = golden.tensors['batches']!.data as Int32Array;
const T = length - 1;

function batchAt(step: number) {
  const rows = (shift: number) =>
    Int32Array.from({ length: B * T }, (_, k) => batches[(step * B + Math.floor(k / T)) * length + (k % T) + shift]!);
  return { B, T, tokens: rows(0), targets: rows(1), reset: null };
}

describe.each(testDevices())('train_curve on $name', ({ create, name }) => {
  // The recording is float32; the losses of the two float32 runs drift apart by rounding alone, hence 2e-3 (issue's bound).
  it.each([false, true])(
    '60 losses within 2e-3 of the recorded ones, checkpointed blocks: %s',
    async (checkpointBlocks) => {
      const { weight_decay, clip_global_norm, lr, warmup_steps } = settings.optimizer;
      using model = modelFromNxai(
        {
          vocabSize: settings.vocab_size,
          dim: settings.embedding_dim,
          blocks: Array.from({ length: settings.num_blocks }, (_, k) =>
            settings.slstm_at.includes(k) ? 'slstm' : 'mlstm',
          ),
          mlstm: { heads: settings.num_heads },
          slstm: { heads: settings.num_heads },
        },
        create(),
        golden,
        'init.',
      );
      const trainer = new Trainer(model, {
        optimizer: { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: weight_decay, decay: 'all' },
        gradientClip: clip_global_norm,
        checkpointBlocks,
        stateful: false,
        key: randomKey(0),
      });
      // The reference device computes some 2 s a step: its first ten steps are enough for a definition.
      const count = name === 'reference' ? 5 : steps;
      for (let step = 0; step < count; step++) {
        const rate = lr * Math.min(1, (step + 1) / warmup_steps);
        const { loss, gradientNorm } = await trainer.step([batchAt(step)], rate, step);
        const wanted = (golden.tensors['losses']!.data as Float32Array)[step]!;
        const norm = (golden.tensors['grad_norms']!.data as Float32Array)[step]!;
        expect(Math.abs(loss - wanted), `loss of step ${step}`).toBeLessThan(2e-3);
        expect(Math.abs(gradientNorm / norm - 1), `gradient norm of step ${step}`).toBeLessThan(2e-2);
      }
      trainer.dispose();
    },
  );
});
