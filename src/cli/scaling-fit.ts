/** @file `xlstm scaling-fit`: the constants of the loss law L(N,D) from a table of runs, with a figure. */
import fs from 'node:fs';
import { Command, InvalidArgumentError } from 'commander';
import { loadComparison } from '../experiments/report/comparison.js';
import type { ScalingLaw } from '../experiments/scaling-law.js';
import {
  parseScalingPoints,
  pointsOfCells,
  scalingFigure,
  studyScaling,
  type ScalingStudy,
} from '../experiments/scaling-points.js';
import { formatCount, formatNumber } from '../format.js';
import { writeFileWhole } from '../model/disk.js';
import { numberFrom } from './options.js';

interface Options {
  gamma: 'free' | number;
  resamples: number;
  svg?: string;
  json?: boolean;
}

export function scalingFitCommand(): Command {
  return new Command('scaling-fit')
    .description(
      'Fit the loss law L(N,D) = e^e + (e^a/N^alpha + e^b/D^beta)^gamma to runs of different size and length.',
    )
    .argument(
      '<points>',
      'a .csv with the columns parameters, tokens, loss, and if there are several also model; or the folder of a comparison',
    )
    .option('--gamma <value>', 'free, or what it is held at; 1 for the law of Hoffmann et al. 2022', gammaFrom, 'free')
    .option('--resamples <n>', 'fits to resampled points, for the 95 % intervals', numberFrom(0, true), 100)
    .option('--svg <file>', 'draw the points and the law')
    .option('--json', 'print as JSON')
    .addHelpText(
      'after',
      `
The column flops is the compute of a run; without it, it is 6 N D.

Examples:
  xlstm scaling-fit points.csv
  xlstm scaling-fit points.csv --gamma 1 --svg scaling.svg
  xlstm scaling-fit runs/scaling --gamma 1`,
    )
    .action(run);
}

function gammaFrom(text: string): 'free' | number {
  if (text === 'free') return text;
  const value = numberFrom(0)(text);
  if (value === 0) throw new InvalidArgumentError('It must be free or a number above 0.');
  return value;
}

async function run(file: string, { gamma, resamples, svg, json = false }: Options): Promise<void> {
  const groups = readPoints(file);
  const studies = [...groups].map(([model, points]) => {
    try {
      return studyScaling(model, points, { gamma, resamples });
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new Error(`${file}${model === '' ? '' : `, model ${model}`}: ${error.message}`, { cause: error });
    }
  });
  if (svg !== undefined) {
    const { standaloneFigure } = await import('../experiments/report/chart.js'); // ECharts takes a moment to load
    writeFileWhole(svg, standaloneFigure(scalingFigure(studies)), 'the figure');
  }
  process.stdout.write(json ? `${JSON.stringify(studies, null, 2)}\n` : studies.map(describe).join('\n'));
  if (svg !== undefined && !json) process.stdout.write(`\ndrawn in ${svg}\n`);
}

function readPoints(file: string): ReturnType<typeof parseScalingPoints> {
  if (!fs.existsSync(file)) throw new Error(`${file}: there is no such file or folder`);
  if (!fs.statSync(file).isDirectory()) return parseScalingPoints(fs.readFileSync(file, 'utf8'), file);
  const groups = pointsOfCells(loadComparison(file).cells);
  if (groups.size === 0) throw new Error(`${file}: no run of it is a language model; give a comparison on text`);
  return groups;
}

const NAMES = ['a', 'b', 'e', 'alpha', 'beta', 'gamma'] as const satisfies readonly (keyof ScalingLaw)[];

function describe({ model, points, fit, optima, frontier, byRatio }: ScalingStudy): string {
  const { law, intervals, rms } = fit;
  const constants = NAMES.map((name) => {
    const [low, high] = intervals?.[name] ?? [NaN, NaN];
    const interval = intervals === null || low === high ? '' : `   ${formatNumber(low)} to ${formatNumber(high)}`;
    return `  ${name.padEnd(6)} ${formatNumber(law[name]).padStart(9)}${interval}`;
  });
  const best = optima.map(
    ({ flops, parameters, tokens, loss }) =>
      `  ${flops.toExponential(1).replace('e+', 'e').padStart(8)} ${formatCount(parameters).padStart(12)}` +
      `${formatCount(tokens).padStart(12)}${formatNumber(tokens / parameters, 3).padStart(12)}` +
      formatNumber(loss).padStart(10),
  );
  const slopes = byRatio.map(
    ({ ratio, runs, slope, r2 }) =>
      `  ${formatNumber(ratio, 3).padStart(8)} tokens per parameter: C^-${formatNumber(slope, 3)} (${runs} runs, R2 ${formatNumber(r2, 3)})`,
  );
  const head = `${model === '' ? '' : `${model}: `}${points.length} runs, root mean square of the residuals ${formatNumber(100 * rms, 3)} % of the loss`;
  const lines = [
    head,
    `  L(N,D) = e^e + (e^a/N^alpha + e^b/D^beta)^gamma${intervals === null ? '' : '   (95 % of the resamples)'}`,
    ...constants,
    '     FLOPs   parameters      tokens  per param.      loss   at the best size',
    ...best,
    `  loss at the best size falls as C^-${formatNumber(frontier.slope, 3)}`,
    ...(slopes.length === 0 ? [] : ['  measured loss over compute at', ...slopes]),
  ];
  return `${lines.join('\n')}\n`;
}
