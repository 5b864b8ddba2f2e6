/** @file The tables of a comparison's page as HTML: results, overview, failures, runs, published beside measured. */
import { formatBytes, formatCount, formatDuration, formatNumber } from '../../format.js';
import { Html, html } from '../../train/html.js';
import {
  byTask,
  headlineOf,
  isLowerBetter,
  MEASURES,
  measured,
  writtenSpread,
  writtenValue,
  type Cell,
  type Headline,
  type Measure,
  type Run,
} from './aggregate.js';
import { PUBLISHED_LAWS } from '../published/scaling.js';
import type { ScalingStudy } from '../scaling-points.js';
import { formatTick } from './axis.js';
import { CERTAINTY_LEGEND, writtenMeasured, writtenPublished, type BesideTable } from './beside.js';
import type { Statistics } from './statistics.js';

type Content = Html | string;

/** The first cell of a row is its head; the others are numbers, right-aligned. */
function table(head: readonly Content[], rows: readonly (readonly Content[])[], kind = 'grid'): Html {
  const cells = (row: readonly Content[]): Html[] =>
    row.map((content, k) => (k === 0 ? html`<th scope="row">${content}</th> ` : cellOf(content)));
  return html`<div class="card scroll">
    <table class="${kind}">
      <thead>
        <tr>
          ${head.map((content) => html`<th scope="col">${content}</th> `)}
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          (row) =>
            html`<tr>
              ${cells(row)}
            </tr> `,
        )}
      </tbody>
    </table>
  </div>`;
}

const cellOf = (content: Content): Html =>
  content instanceof Html && content.markup.startsWith('<td') ? content : html`<td>${content}</td> `;

const interval = ({ mean, ci95 }: Statistics, measure: Measure): string =>
  Number.isNaN(ci95) ? '–' : `${writtenValue(mean - ci95, measure)} to ${writtenValue(mean + ci95, measure)}`;

const spread = (value: Statistics | null, measure: Measure): string =>
  value === null ? '–' : writtenSpread(value, measure);

/** Of one value the whole; best first, what is not a number last. */
function ranked(cells: readonly Cell[], headline: Headline): Cell[] {
  const value = (cell: Cell): number => measured(cell, headline.set, headline.measure)?.mean ?? NaN;
  const sign = isLowerBetter(headline.measure) ? 1 : -1;
  return cells.toSorted((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number(Number.isNaN(x)) - Number(Number.isNaN(y));
    return x === y ? 0 : sign * (x < y ? -1 : 1);
  });
}

/** One row per model and size, best first: what was reached, from how many seeds, at which rate, at what cost. */
export function resultTable(cells: readonly Cell[]): Html {
  const headline = headlineOf(cells);
  if (headline === null) return html`<p class="card none">Nothing was measured.</p>`;
  const { set, measure } = headline;
  const onValidation = cells[0]!.choice.measure;
  const also = set === 'validation' && onValidation === measure ? [] : [`${MEASURES[onValidation].title}, validation`];
  const head = [
    'model',
    `${MEASURES[measure].title}, ${set}`,
    '95 % interval',
    ...also,
    'seeds',
    'failed',
    'learning rate',
    'parameters',
    'state',
    'FLOPs/token',
    'time per run',
  ];
  const rows = ranked(cells, headline).map((cell) => {
    const value = measured(cell, set, measure);
    const { parameters, stateBytes, flopsPerToken } = cell.facts;
    const tried = cell.choice.rates.length;
    return [
      cell.label,
      html`<b>${spread(value, measure)}</b>`,
      value === null ? '–' : interval(value, measure),
      ...also.map(() => spread(measured(cell, 'validation', onValidation), onValidation)),
      String(cell.runs.length),
      String(cell.all.filter(({ status }) => status === 'failed').length),
      formatTick(cell.choice.learningRate) + (tried > 1 ? ` (of ${tried})` : ''),
      formatCount(parameters),
      stateBytes > 0 ? formatBytes(stateBytes) : 'none',
      formatCount(flopsPerToken),
      formatDuration(cell.seconds.mean),
    ];
  });
  return table(head, rows, 'grid wide-table');
}

/** Models by tasks, the best of each task in bold, accuracies with a shade. */
export function overviewTable(cells: readonly Cell[]): Html {
  const tasks = [...byTask(cells)].flatMap(([task, own]) => {
    const headline = headlineOf(own);
    return headline === null ? [] : [{ task, own, headline, best: ranked(own, headline)[0]! }];
  });
  const labels = [...new Set(cells.map(({ label }) => label))];
  const head = ['', ...tasks.map(({ task, headline }) => `${task}: ${MEASURES[headline.measure].title}`)];
  const rows = labels.map((label) => [
    label,
    ...tasks.map(({ own, headline, best }): Content => {
      const cell = own.find((one) => one.label === label);
      const value = cell === undefined ? null : measured(cell, headline.set, headline.measure);
      const written = spread(value, headline.measure);
      const text = cell === best ? html`<b>${written}</b>` : html`${written}`;
      const shade = value === null || isLowerBetter(headline.measure) ? 0 : Math.max(0, Math.min(1, value.mean));
      return html`<td style="--shade:${Math.round(100 * shade)}%" class="shaded">${text}</td> `;
    }),
  ]);
  return table(head, rows);
}

export function failureTable(runs: readonly Run[]): Html {
  const failed = runs.filter(({ status }) => status === 'failed');
  if (failed.length === 0) return html`<p class="card none">No run failed.</p>`;
  return table(
    ['task', 'model', 'why'],
    failed.map(({ taskLabel, model, size, learningRate, seed, reason }) => [
      taskLabel,
      `${model} ${size}, learning rate ${formatTick(learningRate)}, seed ${seed}`,
      reason,
    ]),
    'grid text',
  );
}

/** Every run with a link to its resolved configuration. */
export function runTable(runs: readonly Run[], configs: ReadonlyMap<string, string>): Html {
  return table(
    ['run', 'task', 'seed', 'learning rate', 'steps', 'last training loss', 'tokens/s', ''],
    runs.map(({ run, taskLabel, seed, learningRate, steps, finalTrainLoss, tokensPerSecond, status }) => {
      const file = configs.get(run);
      const address = file?.split(/[\\/]/).map(encodeURIComponent).join('/');
      return [
        address === undefined ? run : html`<a href="${address}">${run}</a>`,
        taskLabel,
        String(seed),
        formatTick(learningRate),
        formatCount(steps),
        finalTrainLoss === null ? '–' : formatNumber(finalTrainLoss),
        formatCount(tokensPerSecond),
        status === 'failed' ? 'failed' : '',
      ];
    }),
  );
}

/** Constants of the loss law by model, with 95 % intervals, and the published ones below. */
export function scalingTable(studies: readonly ScalingStudy[]): Html {
  const names = ['a', 'b', 'e', 'alpha', 'beta', 'gamma'] as const;
  const measuredRows = studies.map(({ model, points, fit, frontier }) => [
    model,
    String(points.length),
    ...names.map((name) => {
      const [low, high] = fit.intervals?.[name] ?? [NaN, NaN];
      const value = formatNumber(fit.law[name], 3);
      return low < high ? `${value} (${formatNumber(low, 3)} to ${formatNumber(high, 3)})` : `${value} (held)`;
    }),
    formatNumber(frontier.slope, 2),
  ]);
  const publishedRows = Object.entries(PUBLISHED_LAWS).map(([model, law]) => [
    `published: ${model}`,
    '–',
    ...names.map((name) => String(law[name])),
    '–',
  ]);
  return html`<p class="about">
      L(N,D) = e^e + (e^a/N^alpha + e^b/D^beta)^gamma (arXiv 2510.02228), N parameters, D tokens; in brackets 95 % of
      fits to resampled runs. The slope is that of log loss over log compute at the best size.
    </p>
    ${table(['model', 'runs', ...names, 'slope'], [...measuredRows, ...publishedRows])}`;
}

/** Published and measured side by side, a table per published one. */
export function besideTables(tables: readonly BesideTable[]): Html {
  if (tables.length === 0)
    return html`<p class="card none">No published table has these tasks and models (two of them at least).</p>`;
  return html`${tables.map(
      ({ table: published, columns, rows }) =>
        html`<h3>${published.title}</h3>
          <p class="about">${published.source}. Published: ${published.settings}.</p>
          ${table(
            ['model', ...columns.flatMap((column) => [`${column}: published`, 'measured'])],
            rows.map(({ model, cells }) => [
              model,
              ...cells.flatMap((cell) => [writtenPublished(cell), writtenMeasured(cell)]),
            ]),
          )} `,
    )}
    <p class="about">
      Measured: mean ± standard deviation (seeds) of the largest size. How published numbers are known:
      ${CERTAINTY_LEGEND}. X: the model did not learn.
    </p>`;
}
