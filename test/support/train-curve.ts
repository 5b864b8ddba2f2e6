/** @file The recorded training of `train_curve`: 60 steps of NX-AI/xlstm with torch.optim.AdamW, and the same steps here. */
import type { Device } from '../../src/device/device.js';
import { randomKey } from '../../src/tensor/random.js';
import { Trainer } from '../../src/train/trainer.js';
import { modelFromNxai } from './models.js';
import { readGolden } from './safetensors.js';

export interface CurveStep {
  readonly step: number;
  readonly loss: number;
  /** The recorded loss. */
  readonly wanted: number;
  readonly gradientNorm: number;
  /** The recorded norm. */
  readonly norm: number;
}

/** Trains on the recorded batches, step by step. */
export async function* trainCurve(
  device: Device,
  { checkpointBlocks, steps }: { readonly checkpointBlocks: boolean; readonly steps?: number },
): AsyncGenerator<CurveStep, void, undefined> {
  const golden = readGolden('train_curve');
  const settings = JSON.parse(golden.metadata['json']!);
  const [recorded, B, length] = golden.tensors['batches']!.shape as [number, number, number];
  const batches = golden.tensors['batches']!.data as Int32Array;
  const T = length - 1;
  const rows = (step: number, shift: number) =>
    Int32Array.from({ length: B * T }, (_, k) => batches[(step * B + Math.floor(k / T)) * length + (k % T) + shift]!);

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
    device,
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
  for (let step = 0; step < (steps ?? recorded); step++) {
    const batch = { B, T, tokens: rows(step, 0), targets: rows(step, 1), reset: null };
    const rate = lr * Math.min(1, (step + 1) / warmup_steps);
    const { loss, gradientNorm } = await trainer.step([batch], rate, step);
    const wanted = (golden.tensors['losses']!.data as Float32Array)[step]!;
    const norm = (golden.tensors['grad_norms']!.data as Float32Array)[step]!;
    yield { step, loss, wanted, gradientNorm, norm };
  }
  trainer.dispose();
}
