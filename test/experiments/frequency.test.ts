import fs from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { frequencyRanges } from '../../src/experiments/frequency.js';
import { trainTask } from '../../src/experiments/train-task.js';
import { fastestDevice } from '../support/devices.js';
import { temporaryFolder } from '../support/folders.js';
import { exampleSpec } from '../support/run-specs.js';
import { sotuTexts } from '../support/sotu.js';

it('ranges of frequency reach from nothing to the most frequent token', () => {
  const counts = Float64Array.of(0, 3, 70, 1200);
  expect(frequencyRanges(counts, [100, 10])).toEqual([
    { name: 'frequency 0-10', end: 10 },
    { name: 'frequency 11-100', end: 100 },
    { name: 'frequency 101-1200', end: 1200 },
  ]);
  expect(frequencyRanges(counts, [1200, 5000])).toEqual([{ name: 'frequency 0-1200', end: 1200 }]);
});

it('the losses of all ranges together are the loss of the held-out text, and rare tokens are hard', async () => {
  const file = path.join(temporaryFolder(), 'text.txt');
  fs.writeFileSync(file, sotuTexts(1)[0]!);
  const { metrics } = await trainTask(
    exampleSpec({
      task: { name: 'text', label: 'text', options: { files: [file], contextLength: 32, frequencies: [10, 100] } },
      model: { dim: 32, blocks: ['slstm'] },
      training: { ...exampleSpec().training, steps: 60, learningRate: 1e-2, evalEvery: 60 },
      device: { name: fastestDevice(), threads: 1 },
    }),
  );
  const ranges = Object.keys(metrics).flatMap((name) => /^(frequency .*)\/targets$/.exec(name)?.[1] ?? []);
  expect(ranges.length).toBe(3);
  const targets = ranges.map((name) => metrics[`${name}/targets`]!);
  const nats = ranges.map((name, k) => metrics[`${name}/loss`]! * targets[k]!);
  const total = targets.reduce((a, b) => a + b);
  expect(total).toBe(metrics['validation/targets']);
  expect(nats.reduce((a, b) => a + b) / total).toBeCloseTo(metrics['validation/loss']!, 6);
  expect(metrics[`${ranges[0]}/loss`]).toBeGreaterThan(metrics[`${ranges[2]}/loss`]! + 1);
});
