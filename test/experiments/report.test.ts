import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  comparePaths,
  makeRunFolder,
  writeResultsTable,
  writeRunResult,
} from '../../src/experiments/compare-folder.js';
import { aggregate, collectRuns } from '../../src/experiments/report/aggregate.js';
import { besidePublished, formatBeside } from '../../src/experiments/report/beside.js';
import { loadComparison } from '../../src/experiments/report/comparison.js';
import { comparisonFigures } from '../../src/experiments/report/figures.js';
import { parseNumberedSet } from '../../src/experiments/report/sets.js';
import { writeReport } from '../../src/experiments/report/report.js';
import { failedResult, type RunResult, type RunSpec } from '../../src/experiments/run-spec.js';
import { temporaryFolder } from '../support/folders.js';
import { checkMarkup, externalAddresses } from '../support/markup.js';
import { constructedRows } from '../support/results.js';
import { exampleSpec } from '../support/run-specs.js';

const MODELS = {
  'xLSTM[0:1]': ['slstm'],
  'xLSTM[1:1]': ['mlstm', 'slstm'],
  LSTM: ['lstm'],
  Llama: ['llama'],
  'own <b>&"': ['own'],
} as const;

/** A comparison on parity and on text, two rates and two seeds; one run of the last model failed. */
function makeComparison(folder: string): void {
  const runs: RunSpec[] = [];
  const results = new Map<string, RunResult>();
  for (const task of ['parity', 'text'])
    for (const [k, [label, mixers]] of Object.entries(MODELS).entries())
      for (const learningRate of [1e-3, 1e-2])
        for (const seed of [0, 1]) {
          const name = `${task}-${label.replaceAll(/[<>&"]/g, '_')}-${learningRate}-${seed}`;
          const base = exampleSpec();
          const options = task === 'text' ? { contextLength: 64 } : { maxLength: 40 };
          const spec = exampleSpec({
            ...{ name, label, mixers: [...mixers], seed },
            task: { name: task, label: task === 'parity' ? 'Parity' : 'text', options },
            training: { ...base.training, learningRate },
          });
          const fails = label.startsWith('own') && seed === 1 && learningRate === 1e-2;
          runs.push(spec);
          const known = { parameters: 1000 * (k + 10), stateBytes: label === 'Llama' ? 0 : 512 * 4 ** k, steps: 10 };
          results.set(
            name,
            fails
              ? failedResult('the loss was not finite at step 3', known)
              : result(task, k, learningRate, seed, known),
          );
        }
  for (const spec of runs) {
    makeRunFolder(folder, spec);
    writeRunResult(folder, spec.name, results.get(spec.name)!);
  }
  fs.writeFileSync(comparePaths(folder).config, 'title: Parity & text\n');
  writeResultsTable(folder, runs, results);
}

function result(task: string, k: number, learningRate: number, seed: number, known: Partial<RunResult>): RunResult {
  const accuracy = (k === 3 ? 0.05 : 1) - 0.01 * seed - learningRate;
  const perplexity = 10 + k + seed / 10 + learningRate;
  const metrics: Record<string, number> =
    task === 'parity'
      ? {
          'validation/loss': 1 - accuracy,
          'validation/scaledAccuracy': accuracy,
          'test 40-256/scaledAccuracy': accuracy,
          'test 40-64/scaledAccuracy': accuracy,
          'test 65-256/scaledAccuracy': accuracy - 0.02,
        }
      : {
          'validation/loss': Math.log(perplexity),
          'validation/perplexity': perplexity,
          'length 64/perplexity': perplexity,
          'length 1024/perplexity': k === 3 ? Infinity : perplexity,
        };
  const curve = [2, 4, 6, 8, 10].map((step) => ({
    step,
    loss: 3 / step,
    validation:
      task === 'parity'
        ? { loss: 1 / step, scaledAccuracy: accuracy / (11 - step) }
        : { loss: 2 / step, perplexity: perplexity + 10 / step },
  }));
  return {
    ...{
      parameters: 1,
      stateBytes: 1,
      flopsPerToken: 5000 * (k + 1),
      seconds: 12 + k,
      tokensPerSecond: 1e4,
      steps: 10,
    },
    ...{ status: 'done', finalTrainLoss: 0.3, metrics, curve },
    ...known,
  };
}

/** The comparison, made once, and its report. */
let folder: string;
beforeAll(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'xlstm-report-'));
  makeComparison(folder);
  fs.mkdirSync(path.join(folder, 'figures'));
  fs.writeFileSync(path.join(folder, 'figures', 'of-an-earlier-report.svg'), '');
  await writeReport(folder);
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

describe('writeReport', () => {
  it('writes a page and a drawing per figure: well-formed, and asking for nothing from outside', () => {
    const page = fs.readFileSync(path.join(folder, 'report.html'), 'utf8');
    expect(checkMarkup(page)).toBeNull();
    expect(externalAddresses(page)).toEqual([]);
    expect(page).not.toContain('<script');
    expect(page).toContain('<h1>Parity &amp; text</h1>');
    const drawings = fs.readdirSync(path.join(folder, 'figures')).toSorted();
    expect(drawings).toEqual(
      ['parity', 'text'].flatMap((task) =>
        ['by-learning-rate', 'by-length', 'by-parameters', 'by-state', 'by-flops', 'by-time', 'training', 'validation']
          .map((name) => `${task}-${name}.svg`)
          .toSorted(),
      ),
    );
    for (const name of drawings) {
      const svg = fs.readFileSync(path.join(folder, 'figures', name), 'utf8');
      expect(checkMarkup(svg), name).toBeNull();
      expect(externalAddresses(svg), name).toEqual([]);
    }
    const ids = [...page.matchAll(/ id="([^"]*)"/g)].map(([, id]) => id);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('shows means with spread and seeds, failures with their sentence, claims with their verdict, links that exist', () => {
    const page = fs.readFileSync(path.join(folder, 'report.html'), 'utf8');
    const text = page
      .replace(/<style[^]*?<\/style>/g, '')
      .replace(/<[^>]*>/g, '')
      .replace(/\s+/g, ' ');
    expect(text).toContain('0.994 ± 0.007 0.930 to 1.058 0.994 ± 0.007 2 0 0.001 (of 2)'); // Student's t of two seeds is wide
    expect(text).toContain('the loss was not finite at step 3');
    expect(text).toContain('own &lt;b&gt;&amp;&quot;');
    expect(text).toMatch(/✓ reproducedsLSTM and LSTM solve parity/);
    expect(text).toMatch(/reproduces 3, contradicts 0, leaves 0 undecided/);
    expect(text).toContain('Llama (Parity, D64x2) has 0.044 ± 0.007 (2 seeds)');
    expect(text).toContain('not shown, it has none: Llama');
    const links = [...page.matchAll(/href="([^"]*)"/g)].map(([, address]) => address!);
    expect(links).toHaveLength(40);
    for (const link of links) expect(fs.existsSync(path.join(folder, decodeURIComponent(link))), link).toBe(true);
  });

  it('says what is missing', async () => {
    const empty = temporaryFolder();
    await expect(writeReport(empty)).rejects.toThrow('there is no results.csv in it; run xlstm compare first');
  });

  it('shows a comparison of failures alone', async () => {
    const empty = temporaryFolder();
    const spec = exampleSpec();
    writeResultsTable(empty, [spec], new Map([[spec.name, failedResult('it broke')]]));
    await writeReport(empty);
    const page = fs.readFileSync(path.join(empty, 'report.html'), 'utf8');
    expect(checkMarkup(page)).toBeNull();
    expect(page).toContain('it broke');
  });
});

describe('figures', () => {
  const drawn = () => comparisonFigures(loadComparison(folder)).flatMap((one) => one.figures);
  const named = (name: string) => drawn().find((figure) => figure.name === name)!;

  it('by length tell up to where was trained', () => {
    const { note, x, series } = named('text-by-length');
    expect(note).toBe('trained up to length 64; bars: standard deviation over 2 seeds');
    expect(x.scale).toBe('log2');
    expect(series[0]!.points.map((point) => [point.x, Number(point.y.toFixed(3))])).toEqual([
      [64, 10.051],
      [1024, 10.051],
    ]);
    expect(series[0]!.points[0]!.high).toBeGreaterThan(10.051);
    expect(parseNumberedSet('frequency 11-100')).toMatchObject({ what: 'frequency', from: 11, end: 100 });
    expect(parseNumberedSet('test 41-64')).toMatchObject({ what: 'length', from: 41, end: 64 });
    expect(parseNumberedSet('validation')).toBeNull();
  });

  it('by length leave out a range that holds the others', () => {
    const { x, series } = named('parity-by-length');
    expect(x.title).toBe('length of the sequence (end of the range)');
    expect(series[0]!.points.map((point) => [point.x, Number(point.y.toFixed(3))])).toEqual([
      [64, 0.994],
      [256, 0.974],
    ]);
  });

  it('of several sizes show the largest, and all of them against cost', () => {
    const rows = constructedRows(
      ['D32', 'D64'].map((size, k) => ({
        ...{ size, dim: 32 * (k + 1), parameters: 1000 * 4 ** k },
        metrics: { 'validation/loss': 1, 'length 64/loss': 1, 'length 256/loss': 2 - k },
      })),
    );
    const found = comparisonFigures({ cells: aggregate(collectRuns(rows)), curves: new Map() })[0]!.figures;
    const figure = (name: string) => found.find((one) => one.name === name)!;
    expect(figure('parity-by-length').title).toBe('parity, D64: loss (nats, or squared error) by length');
    expect(figure('parity-by-length').series.map(({ label }) => label)).toEqual(['sLSTM']);
    expect(figure('parity-by-width').series[0]!.points.map(({ x }) => x)).toEqual([32, 64]);
    expect(figure('parity-by-parameters').series[0]!.points).toHaveLength(2);
  });

  it('of the training are means over the seeds', () => {
    const { series } = named('parity-validation');
    expect(series).toHaveLength(5);
    expect(series[0]!.points.at(-1)).toEqual({ x: 10, y: 0.994 });
  });

  it('give one model one look everywhere', () => {
    for (const { series } of drawn())
      for (const { label, style } of series) expect(style).toBe(Object.keys(MODELS).indexOf(label));
  });
});

describe('published beside measured', () => {
  it('has the columns and models that were measured, each with its mark', () => {
    const tables = besidePublished(loadComparison(folder).cells);
    expect(tables.map(({ table }) => table.id)).toEqual(['figure-4', 'state-tracking']);
    const [figure4] = tables;
    expect(figure4!.columns).toEqual(['Parity, test 40-256']);
    const row = (model: string) => figure4!.rows.find((one) => one.model === model)!.cells[0]!;
    expect(row('xLSTM[0:1]')).toMatchObject({ published: 1, certainty: 'S', measured: { count: 2, mean: 0.994 } });
    expect(row('Llama')).toMatchObject({ published: 0.03, certainty: 'M' });
    expect(row('Mamba').measured).toBeNull();
  });

  it('is written for a terminal', () => {
    const lines = formatBeside(besidePublished(loadComparison(folder).cells)).split('\n');
    expect(lines[0]).toBe('Formal languages (arXiv 2405.04517, figure 4)');
    expect(lines).toContain('    xLSTM[0:1]    1 [S]      0.994 ± 0.007 (2)');
    expect(lines).toContain('    Mamba         0.13 [M]   –');
    expect(formatBeside([])).toBe('');
  });
});
