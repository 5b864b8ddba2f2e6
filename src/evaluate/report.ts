/**
 * @file What an evaluation found, as files: results.json, a page that needs no network, and the plots as SVG. It only
 * shows what it is given.
 */
import path from 'node:path';
import type { Accuracy, ChoiceScore, LastWordScore } from '../data/tasks/multiple-choice.js';
import { formatNumber } from '../format.js';
import { makeFolder, writeFileWhole } from '../model/disk.js';
import { html, htmlPage, trustedHtml, type Html } from '../train/html.js';
import { REPORT_STYLE } from '../train/report-style.js';
import type { Point } from '../train/report-charts.js';
import type { LengthScores } from './context-length.js';
import type { DomainScores } from './domains.js';
import type { MacroAverage, Score } from './score.js';

export interface Evaluation {
  /** The folder of the model as it was given. */
  readonly model: string;
  /** Fingerprint of the model. */
  readonly fingerprint: string;
  /** What it ran on, one line. */
  readonly device: string;
  /** How `text` and `domains` were read, in words. */
  readonly method: string;
  readonly text?: Score & { readonly name: string };
  readonly domains?: DomainScores;
  readonly lengths?: LengthScores;
  /** Zero-shot tasks, each with the file that was given. */
  readonly lambada?: LastWordScore & { readonly name: string };
  readonly hellaswag?: ChoiceScore & { readonly name: string };
}

/** Writes the files into a folder, which is made. @returns their names. @throws WriteError if the disk refuses. */
export async function writeEvaluation(folder: string, evaluation: Evaluation): Promise<string[]> {
  makeFolder(folder);
  const plots = evaluation.lengths === undefined ? [] : await drawPlots(evaluation.lengths);
  const files: [name: string, content: string][] = [
    ['results.json', `${JSON.stringify(evaluation, null, 2)}\n`],
    ['report.html', page(evaluation, plots)],
    ...plots.map((plot): [string, string] => [`${plot.name}.svg`, standalone(plot)]),
  ];
  for (const [name, content] of files) writeFileWhole(path.join(folder, name), content, 'the evaluation');
  return files.map(([name]) => name);
}

// ---- plots -------------------------------------------------------------------------------------------------------------

interface Plot {
  readonly name: string;
  readonly title: string;
  /** An SVG element. */
  readonly svg: string;
}

const WIDTH = 640;
const HEIGHT = 300;

async function drawPlots({ lengths, positions }: LengthScores): Promise<Plot[]> {
  const { renderChart } = await import('../train/report-charts.js'); // ECharts takes a moment to load
  const plot = (name: string, title: string, points: readonly Point[]): Plot => {
    const series = [{ label: 'perplexity', color: '--series-b', points, dots: true }] as const;
    const options = { width: WIDTH, height: HEIGHT, id: name, label: title, powersOfTwo: true };
    return { name, title, svg: renderChart(series, options) };
  };
  return [
    plot(
      'lengths',
      'Perplexity by context length in tokens',
      lengths.map(({ length, perplexity }) => [length, perplexity]),
    ),
    plot(
      'positions',
      'Perplexity by tokens of context that a prediction has',
      positions.map(({ to, perplexity }) => [to, perplexity]),
    ),
  ];
}

/** A plot as a file of its own: with its title, and in plain colours, which every program that shows SVG knows. */
function standalone({ title, svg }: Plot): string {
  const [top, side] = [36, 12];
  const inner = svg.replace(
    '<svg ',
    `<svg x="${side}" y="${top}" width="${WIDTH}" height="${HEIGHT}" overflow="visible" `,
  );
  const [width, height] = [WIDTH + 2 * side, HEIGHT + top + side];
  const whole =
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">\n` +
    `<rect width="100%" height="100%" fill="var(--card)"/>\n` +
    `<text x="16" y="24" font-family="system-ui, sans-serif" font-size="14" font-weight="600" fill="var(--text)">${title}</text>\n` +
    `${inner}\n</svg>\n`;
  return whole.replace(/var\((--[\w-]+)\)/g, (_, name: string) => lightColour(name));
}

/** A colour of the page's style sheet, whose first rules are those of the light page. */
const lightColour = (name: string): string => new RegExp(`${name}: (#[0-9a-f]+)`).exec(REPORT_STYLE)![1]!;

// ---- the page ----------------------------------------------------------------------------------------------------------

function page(evaluation: Evaluation, plots: readonly Plot[]): string {
  const { model, fingerprint, device, method, text, domains, lengths, lambada, hellaswag } = evaluation;
  return htmlPage(
    `Evaluation of ${model}`,
    REPORT_STYLE,
    html`<p class="about">${device} · model ${fingerprint.slice(0, 12)}</p>
      ${text === undefined ? [] : [html`<h2>${text.name}</h2>`, scoreTable([['the text', text]])]}
      ${domains === undefined ? [] : [html`<h2>By domain</h2>`, domainTable(domains)]}
      ${text === undefined && domains === undefined ? [] : [html`<p class="about">${method}</p>`]}
      ${lengths === undefined ? [] : [html`<h2>By context length</h2>`, figures(plots), lengthTable(lengths)]}
      ${lambada === undefined && hellaswag === undefined ? [] : [html`<h2>Zero-shot</h2>`, zeroShotTable(evaluation)]}
      <footer>
        Loss is nats per token: the sum of -log p over all predicted tokens over their number. Perplexity is exp(loss).
        Bits per byte are loss / log 2 times tokens per byte of the same text.
      </footer> `,
  ).markup;
}

const figures = (plots: readonly Plot[]): Html =>
  html`<div class="charts">
    ${plots.map(
      ({ title, svg }) =>
        html`<figure class="card chart">
          <figcaption><h3>${title}</h3></figcaption>
          ${trustedHtml(svg)}
        </figure> `,
    )}
  </div>`;

const number = (value: string): Html => html`<td class="number">${value}</td> `;
const count = (value: number): Html => number(value.toLocaleString('en-US'));

function table(head: readonly string[], rows: readonly Html[]): Html {
  return html`<div class="card">
    <table>
      <tr>
        ${head.map((name, k) => (k === 0 ? html`<th>${name}</th> ` : html`<td class="number">${name}</td> `))}
      </tr>
      ${rows}
    </table>
  </div>`;
}

const MEASURES = ['perplexity', 'bits per byte', 'loss'] as const;
const measures = ({ perplexity, bitsPerByte, loss }: MacroAverage): Html[] =>
  [perplexity, bitsPerByte, loss].map((value) => number(formatNumber(value)));

function scoreTable(rows: readonly (readonly [name: string, score: Score])[]): Html {
  const cells = rows.map(
    ([name, score]) =>
      html`<tr>
        <th>${name}</th>
        ${measures(score)}${count(score.predicted)}${count(score.bytes)}${count(score.documents)}
      </tr> `,
  );
  return table(['', ...MEASURES, 'tokens predicted', 'bytes', 'documents'], cells);
}

function domainTable({ domains, macro, micro }: DomainScores): Html {
  const rows = domains.map((score): [string, Score] => [score.name, score]);
  const averages = html`<tr class="total">
    <th>macro average: each domain the same</th>
    ${measures(macro)}${number('')}${number('')}${number('')}
  </tr>`;
  return html`${scoreTable([...rows, ['micro average: each token the same', micro]])}
  ${table(['', ...MEASURES, '', '', ''], [averages])}`;
}

function zeroShotTable({ lambada, hellaswag }: Evaluation): Html {
  const percent = ({ accuracy, standardError }: Accuracy): string =>
    `${(100 * accuracy).toFixed(2)} ± ${(100 * standardError).toFixed(2)}`;
  const rows: (readonly [string, string, number, string, string])[] = [];
  if (lambada !== undefined) {
    rows.push([lambada.name, 'last word', lambada.items, percent(lambada), formatNumber(lambada.perplexity)]);
  }
  if (hellaswag !== undefined) {
    const { name, items, sum, perByte } = hellaswag;
    rows.push([name, 'ending', items, percent(sum), ''], [name, 'ending, log p per byte', items, percent(perByte), '']);
  }
  const cells = rows.map(
    ([name, what, items, accuracy, perplexity]) =>
      html`<tr>
        <th>${name}, ${what}</th>
        ${count(items)}${number(accuracy)}${number(perplexity)}
      </tr> `,
  );
  return table(['', 'items', 'accuracy, %', 'perplexity of the word'], cells);
}

const lengthTable = ({ lengths }: LengthScores): Html =>
  table(
    ['context length', ...MEASURES, 'tokens predicted'],
    lengths.map(
      (score) =>
        html`<tr>
          <th>${score.length.toLocaleString('en-US')}</th>
          ${measures(score)}${count(score.predicted)}
        </tr> `,
    ),
  );
