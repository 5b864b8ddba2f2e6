/** @file One run of a comparison for real: a task is learned, a text is learned, and what cannot go on says why. */
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { RunSpec } from '../../src/experiments/run-spec.js';
import { trainTask } from '../../src/experiments/train-task.js';
import { fastestDevice } from '../support/devices.js';
import { temporaryFolder } from '../support/folders.js';

const spec = (changes: Partial<RunSpec> = {}, training: Partial<RunSpec['training']> = {}): RunSpec => ({
  name: 'run',
  task: {
    name: 'parity',
    label: 'parity',
    options: { maxLength: 16, testLengths: [[16, 32]], validationSize: 64, testSize: 64 },
  },
  label: 'sLSTM',
  mixers: ['slstm'],
  mixerFiles: [],
  size: 'D32x1',
  model: {
    dim: 32,
    blocks: ['slstm'],
    slstm: { heads: 1, convKernel: 0, recurrentInit: 'standard' },
  },
  seed: 1,
  device: { name: fastestDevice(), threads: 1 },
  ...changes,
  training: {
    steps: 200,
    batchSize: 32,
    learningRate: 1e-2,
    schedule: 'cosine',
    warmupSteps: 20,
    finalRatio: 0.1,
    beta1: 0.9,
    beta2: 0.99,
    eps: 1e-8,
    weightDecay: 0,
    gradientClip: 1,
    evalEvery: 100,
    ...training,
  },
});

it('an sLSTM learns parity of short strings', async () => {
  const steps: number[] = [];
  const result = await trainTask(spec({}, { steps: 300, evalEvery: 150 }), {
    onProgress: ({ step }) => void steps.push(step),
  });
  expect(result.status).toBe('done');
  expect(result.metrics['validation/scaledAccuracy']).toBeGreaterThan(0.95);
  expect(result.metrics['test 16-32/accuracy']).toBeGreaterThan(0.8);
  expect(result.metrics['validation/answers']).toBe(64);
  expect(result.curve.filter(({ validation }) => validation !== undefined).map(({ step }) => step)).toEqual([150, 300]);
  expect(steps).toEqual(Array.from({ length: 300 }, (_, k) => k + 1));
  expect(result.stateBytes).toBe(4 * 4 * 32);
});

it('the same run again is the same to the bit', async () => {
  const short = () => trainTask(spec({}, { steps: 10, evalEvery: 10 }));
  const [a, b] = [await short(), await short()];
  expect(a.metrics).toEqual(b.metrics);
  expect(a.curve).toEqual(b.curve);
});

it('numbers and classes are learned as well', async () => {
  const task = { name: 'nearestNeighbour', label: 'nn', options: { trainSize: 256, validationSize: 64, maxLength: 8 } };
  const { curve, metrics } = await trainTask(spec({ task }, { steps: 100, evalEvery: 50 }));
  expect(metrics['validation/loss']).toBeLessThan(curve[0]!.loss! / 2);
  expect(metrics['validation/accuracy']).toBeUndefined();
});

it('a text: perplexity at the trained and at other lengths', async () => {
  const folder = temporaryFolder();
  const file = path.join(folder, 'text.txt');
  fs.writeFileSync(file, 'the cat sat on the mat and the dog sat on the cat. '.repeat(200));
  const task = {
    name: 'text',
    label: 'text',
    options: { files: [file], contextLength: 32, lengths: [16, 64], evaluationTokens: 512 },
  };
  const { metrics, stateBytes } = await trainTask(spec({ task }, { steps: 60, batchSize: 8, evalEvery: 60 }));
  expect(metrics['validation/perplexity']).toBeLessThan(20);
  expect(metrics['validation/perplexity']).toBeCloseTo(Math.exp(metrics['validation/loss']!), 6);
  expect(metrics['length 16/perplexity']).toBeLessThan(30);
  expect(metrics['length 64/perplexity']).toBeLessThan(30);
  expect(stateBytes).toBe(512);
});

describe('what cannot go on', () => {
  it('a loss that is not finite', async () =>
    expect(trainTask(spec({}, { learningRate: 1e30, gradientClip: 1e30, warmupSteps: 0 }))).rejects.toThrow(
      /not finite .* at step \d+ with a peak learning rate of 1e\+30; the model has diverged/,
    ));
  it('a task that does not exist', async () =>
    expect(trainTask(spec({ task: { name: 'pariti', label: 'x', options: {} } }))).rejects.toThrow(
      'did you mean "parity"?',
    ));
  it('options that do not fit', async () =>
    expect(trainTask(spec({ model: { dim: 16, blocks: ['slstm'], slstm: { heads: 5 } } }))).rejects.toThrow(
      'heads must divide the width',
    ));
  it('a signal', async () => {
    const stop = new AbortController();
    const run = trainTask(spec(), {
      signal: stop.signal,
      onProgress: ({ step }) => step === 5 && stop.abort(new Error('enough')),
    });
    await expect(run).rejects.toThrow('enough');
  });
});
