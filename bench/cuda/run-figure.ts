/** @file Draws the losses of a run as a file: `npx tsx bench/cuda/run-figure.ts runs/linux docs/plots/linux.svg`. */
import fs from 'node:fs';
import path from 'node:path';
import { standaloneFigure, type FigurePoint } from '../../src/experiments/report/chart.js';

const [run, out] = process.argv.slice(2);
if (run === undefined || out === undefined) throw new Error('usage: run-figure.ts RUN OUT');

interface Line {
  readonly tokens: number;
  readonly emaLoss: number;
  readonly validationLoss?: number;
}

const lines = fs
  .readFileSync(path.join(run, 'metrics.jsonl'), 'utf8')
  .trim()
  .split('\n')
  .map((text) => JSON.parse(text) as Line);
const thin = Math.ceil(lines.length / 300);
const training = lines
  .filter((_, k) => k % thin === 0)
  .map(({ tokens, emaLoss }): FigurePoint => ({ x: tokens / 1e6, y: emaLoss }));
const heldOut = lines.flatMap(({ tokens, validationLoss }): FigurePoint[] =>
  validationLoss === undefined ? [] : [{ x: tokens / 1e6, y: validationLoss }],
);
const figure = standaloneFigure({
  name: path.basename(out, '.svg'),
  title: `Loss of the run ${path.basename(run)}`,
  x: { title: 'million tokens', scale: 'linear', min: 0 },
  y: { title: 'nats per token', scale: 'log10' },
  series: [
    { label: 'training, running mean', style: 0, draw: 'line', points: training },
    { label: 'held out', style: 1, draw: 'both', points: heldOut },
  ],
});
fs.writeFileSync(out, figure);
