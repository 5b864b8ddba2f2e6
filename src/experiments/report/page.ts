/** @file report.html of a comparison: one page that needs no network. It shows what the other files of this folder found. */
import { html, htmlPage, trustedHtml, type Html } from '../../train/html.js';
import { REPORT_STYLE } from '../../train/report-style.js';
import { byTask } from './aggregate.js';
import { besidePublished } from './beside.js';
import { inlineFigure } from './chart.js';
import { studyCells } from '../scaling-points.js';
import { judgeClaims, type JudgedClaim } from './claims.js';
import type { Comparison } from './comparison.js';
import { SCALING_TITLE, type TaskFigures } from './figures.js';
import { besideTables, failureTable, overviewTable, resultTable, runTable, scalingTable } from './tables.js';
import { FIGURE_STYLE } from './theme.js';
import type { Verdict } from './judge.js';

const STYLE = `${REPORT_STYLE}${FIGURE_STYLE}
.scroll { overflow-x: auto; }
table.grid { width: auto; min-width: 100%; }
.grid th { width: auto; white-space: nowrap; color: var(--text); }
.grid thead th { color: var(--muted); text-align: right; white-space: normal; vertical-align: bottom; min-width: 72px; }
.grid thead th:first-child { text-align: left; }
.charts { margin-top: 12px; }
.grid th, .grid td { overflow-wrap: normal; padding: 6px 10px; }
.grid td { text-align: right; white-space: nowrap; }
.grid.text td, .grid.text thead th { text-align: left; white-space: normal; }
td.shaded { background: color-mix(in srgb, var(--bar) var(--shade), transparent); }
.chart svg svg { width: auto; height: auto; }
h2 + h3, .card + h3 { margin-top: 18px; }
.claim { padding: 12px 14px; margin-bottom: 10px; }
.claim p { margin: 4px 0 0; }
.claim .verdict { font-weight: 600; margin-right: 8px; }
.claim ul { margin: 6px 0 0; padding-left: 20px; font-size: 14px; }
.claim .rule { color: var(--muted); font-size: 13px; }
details { margin: 12px 0; }
`;

/** The page as text. All text of the runs is escaped. */
export function comparisonPage(comparison: Comparison, figures: readonly TaskFigures[], created: Date): string {
  const { title, runs, cells, configs } = comparison;
  const tasks = [...byTask(cells)];
  const seeds = new Set(runs.map(({ seed }) => seed)).size;
  const failed = runs.filter(({ status }) => status === 'failed').length;
  const about = [
    `${runs.length} runs${failed === 0 ? '' : `, ${failed} of them failed`}`,
    seeds === 1 ? 'one seed' : `${seeds} seeds`,
    `${created.toISOString().slice(0, 16).replace('T', ' ')} UTC`,
  ];
  return htmlPage(
    title,
    STYLE,
    html`<p class="about">${about.join(' · ')}</p>
      ${tasks.length < 2 ? [] : [html`<h2>Overview</h2>`, overviewTable(cells)]}
      ${tasks.map(
        ([task, own], index) =>
          html`<h2>${task}</h2>
            ${resultTable(own)}
            ${figureList(
              figures.find((one) => one.task === task),
              tasks.length > 4 && index > 0,
            )} `,
      )}
      ${scalingPart(comparison, figures)}
      <h2>Claims of the paper</h2>
      ${claims(judgeClaims(cells))}
      <h2>Published beside measured</h2>
      ${besideTables(besidePublished(cells))}
      <h2>Failures</h2>
      ${failureTable(runs)}
      <h2>Runs</h2>
      <details>
        <summary>${runs.length} runs with their resolved configurations</summary>
        ${runTable(runs, configs)}
      </details>
      <footer>${METHOD}</footer> `,
  ).markup;
}

const METHOD =
  'Numbers are means over the seeds ± standard deviation (with n - 1); intervals are 95 % confidence intervals of the mean ' +
  "by Student's t. The learning rate of each model, size and task is the one of the best mean on the validation set, never " +
  'on a test set; rates at which a run failed come last; equal accuracies are told apart by the validation loss. State is ' +
  'that of one sequence at the longest training length, in float32. FLOPs are of a forward pass, a multiply-add counted as ' +
  'two. Every figure is also a file in figures/, every number in results.csv.';

function figureList(found: TaskFigures | undefined, folded: boolean): Html {
  const figures = found?.figures ?? [];
  if (figures.length === 0) return html``;
  const list = html`<div class="charts">
    ${figures.map((figure) => html`<figure class="card chart">${trustedHtml(inlineFigure(figure))}</figure> `)}
  </div>`;
  if (!folded) return list;
  return html`<details>
    <summary>${figures.length} figures</summary>
    ${list}
  </details>`;
}

function scalingPart({ cells }: Comparison, figures: readonly TaskFigures[]): Html[] {
  const studies = studyCells(cells);
  if (studies.length === 0) return [];
  const drawn = figures.find(({ task }) => task === SCALING_TITLE);
  return [html`<h2>${SCALING_TITLE}</h2>`, scalingTable(studies), figureList(drawn, false)];
}

// ---- claims --------------------------------------------------------------------------------------------------------

const VERDICTS: Readonly<Record<Verdict, string>> = {
  reproduced: '✓ reproduced',
  contradicted: '✗ contradicted',
  undecided: '≈ undecided: within the margins',
  untouched: 'not touched',
};

function claims(judged: readonly JudgedClaim[]): Html {
  const of = (...verdicts: Verdict[]): JudgedClaim[] => judged.filter(({ verdict }) => verdicts.includes(verdict));
  const touched = [...of('reproduced'), ...of('contradicted'), ...of('undecided')];
  const untouched = of('untouched');
  const none = html`<p class="card none">This comparison touches none of the paper's claims.</p>`;
  return html`<p class="about">
      Of ${judged.length} claims this comparison reproduces ${of('reproduced').length}, contradicts
      ${of('contradicted').length}, leaves ${of('undecided').length} undecided and does not touch ${untouched.length}.
      At its own settings: what a small run contradicts may hold at the paper's size.
    </p>
    ${touched.length === 0 ? none : touched.map(claimCard)}
    <details>
      <summary>${untouched.length} claims that it does not touch</summary>
      ${untouched.map(claimCard)}
    </details>`;
}

const claimCard = ({ sentence, source, rule, verdict, evidence }: JudgedClaim): Html =>
  html`<div class="card claim">
    <p><span class="verdict">${VERDICTS[verdict]}</span>${sentence}</p>
    <ul>
      ${evidence.map((line) => html`<li>${line}</li> `)}
    </ul>
    <p class="rule">Paper: ${source}. Rule: ${rule}.</p>
  </div> `;
