/** @file Runs of comparisons for tests: small, and wrong nowhere. */
import type { RunSpec } from '../../src/experiments/run-spec.js';

export const exampleSpec = (changes: Partial<RunSpec> = {}): RunSpec => ({
  name: 'parity-xLSTM[1:1]-D64x2-0.001-0-0123456789',
  task: { name: 'parity', label: 'parity', options: { maxLength: 40 } },
  label: 'xLSTM[1:1]',
  mixers: ['mlstm', 'slstm'],
  mixerFiles: [],
  size: 'D64x2',
  model: { dim: 64, blocks: ['mlstm', 'slstm'] },
  training: {
    steps: 10,
    batchSize: 4,
    learningRate: 1e-3,
    schedule: 'cosine',
    warmupSteps: 1,
    finalRatio: 0.1,
    beta1: 0.9,
    beta2: 0.99,
    eps: 1e-8,
    weightDecay: 0.1,
    gradientClip: 1,
    evalEvery: 5,
  },
  seed: 0,
  device: { name: 'cpu', threads: 1 },
  ...changes,
});
