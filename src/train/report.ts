/**
 * @file report.html: what a run did, on one page that needs no network. It only shows what it is given; the numbers come
 * from metrics.jsonl.
 */
import { formatBytes, formatCount, formatDuration, formatNumber } from '../format.js';
import { writeFileWhole } from '../model/disk.js';
import { Html, html, htmlPage, trustedHtml } from './html.js';
import type { MetricsRow } from './metrics-log.js';
import type { ChartSeries, Point } from './report-charts.js';
import { REPORT_STYLE } from './report-style.js';

/** Everything that the page shows. */
export interface RunReport {
  readonly title: string;
  readonly created: Date;
  /** What it ran on, one line. */
  readonly device: string;
  /** The resolved configuration: plain objects, lists and values. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly model: {
    /** One line: kinds of blocks, width, vocabulary. */
    readonly description?: string;
    readonly parts: readonly { readonly name: string; readonly parameters: number }[];
    /** Parameters of all parts. */
    readonly total: number;
    /** Bytes of the state of one sequence. */
    readonly stateBytes: number;
  };
  /** Facts by name (camelCase); a number whose name ends in "Bytes" is shown in units. */
  readonly dataset: Readonly<Record<string, unknown>>;
  /** The rows of metrics.jsonl, by step. */
  readonly metrics: readonly MetricsRow[];
  readonly samples: readonly { readonly step: number; readonly prompt: string; readonly text: string }[];
}

/** Writes the page as one file. @throws WriteError if the disk refuses; an older report stands. */
export async function writeReport(file: string, report: RunReport): Promise<void> {
  writeFileWhole(file, await renderReport(report), 'the report');
}

/** The page as text. All text of the report is escaped: samples may contain anything. */
export async function renderReport(report: RunReport): Promise<string> {
  const { title, created, device, model } = report;
  const about = [model.description, device, created.toISOString().slice(0, 16).replace('T', ' ') + ' UTC'];
  const page = htmlPage(
    title,
    REPORT_STYLE,
    html`<p class="about">${about.filter((part) => part !== undefined && part !== '').join(' · ')}</p>
      <div class="tiles">${tiles(report)}</div>
      ${await charts(report.metrics)}
      <h2>Samples</h2>
      ${samples(report.samples)}
      <div class="columns">
        <section>
          <h2>Model</h2>
          ${modelTable(model)}
        </section>
        <section>
          <h2>Text</h2>
          ${factTable(report.dataset)}
        </section>
      </div>
      <h2>Configuration</h2>
      ${factTable(report.config)}
      <footer>Written by xlstm. Losses are in nats per token; perplexity is exp(loss).</footer> `,
  );
  return page.markup;
}

// ---- numbers at the top ------------------------------------------------------------------------------------------------

function tiles({ metrics, model }: RunReport): Html[] {
  const last = metrics.at(-1);
  const validated = metrics.filter(({ validationLoss }) => isFinite(validationLoss));
  const best = validated.reduce<MetricsRow | undefined>(
    (a, b) => (a && a.validationLoss! <= b.validationLoss! ? a : b),
    undefined,
  );
  const seconds = last?.elapsedSeconds ?? (last && metrics[0] ? last.time - metrics[0].time : NaN);
  const rates = metrics
    .map(({ tokensPerSecond }) => tokensPerSecond)
    .filter(isFinite)
    .sort((a, b) => a - b);
  const entries: (readonly [value: string, label: string] | false)[] = [
    best !== undefined && [formatNumber(best.validationLoss!), `best held-out loss, step ${best.step}`],
    best !== undefined && [formatNumber(Math.exp(best.validationLoss!), 3), 'perplexity there'],
    isFinite(best?.validationBitsPerByte) && [formatNumber(best.validationBitsPerByte), 'bits per byte there'],
    best === undefined && isFinite(last?.emaLoss) && [formatNumber(last.emaLoss), 'training loss (average)'],
    last !== undefined && [last.step.toLocaleString('en-US'), 'steps'],
    isFinite(last?.tokens) && [formatCount(last.tokens), 'tokens seen'],
    isFinite(seconds) && seconds > 0 && [formatDuration(seconds), 'training time'],
    rates.length > 0 && [formatCount(rates[rates.length >> 1]!), 'tokens per second (median)'],
    [formatCount(model.total), 'parameters'],
  ];
  return entries
    .filter((entry) => entry !== false)
    .map(([value, label]) => html`<div class="tile"><b>${value}</b><span>${label}</span></div>`);
}

function isFinite(value: number | undefined): value is number {
  return value !== undefined && Number.isFinite(value);
}

// ---- charts ------------------------------------------------------------------------------------------------------------

interface Chart {
  readonly title: string;
  readonly series: readonly ChartSeries[];
  readonly logarithmic?: boolean;
  /** Leave out the first steep fall, which would press the rest flat. */
  readonly cutStart?: boolean;
  /** How the last value is written above the chart. */
  readonly format?: (value: number) => string;
}

async function charts(metrics: readonly MetricsRow[]): Promise<Html> {
  const drawn = chartsOf(metrics).filter(({ series }) => series.length > 0);
  if (drawn.length === 0) return html`<p class="card none">Nothing was measured yet.</p>`;
  const { renderChart } = await import('./report-charts.js'); // ECharts takes a moment to load
  const figures = drawn.map((chart, index) => {
    const { title, series, logarithmic = false, format = formatNumber } = chart;
    const top = chart.cutStart ? topAfterStart(series) : undefined;
    const common = { label: `${title} by step`, logarithmic, ...(top === undefined ? {} : { top }) };
    const wide = renderChart(series, { ...common, id: `w${index}`, width: 560, height: 270 });
    const narrow = renderChart(series, { ...common, id: `n${index}`, width: 343, height: 220 });
    const keys = series.map(({ label, color, points }) => {
      const swatch = series.length > 1 ? html`<i style="background:var(${color})"></i>` : html``;
      return html`<span class="key">${swatch}${label} ${format(points.at(-1)![1])}</span>`;
    });
    return html`<figure class="card chart">
      <figcaption>
        <h3>${title}</h3>
        ${keys}
      </figcaption>
      <div class="wide">${trustedHtml(wide)}</div>
      <div class="narrow">${trustedHtml(narrow)}</div>
    </figure> `;
  });
  return html`<div class="charts">${figures}</div>`;
}

function chartsOf(metrics: readonly MetricsRow[]): Chart[] {
  const points = (key: keyof MetricsRow & string, transform = (value: number) => value): Point[] =>
    metrics.flatMap((row) => (typeof row[key] === 'number' ? [[row.step, transform(row[key])] as const] : []));
  const present = (...series: ChartSeries[]) =>
    series.filter((one) => one.points.some(([, value]) => Number.isFinite(value)));
  const train = { label: 'training', color: '--series-a', noisy: true } as const;
  const average = { label: 'average', color: '--series-b' } as const;
  const only = { label: 'last', color: '--series-b' } as const;
  const heldOut = { label: 'held-out', color: '--series-c', dots: true } as const;
  const gradient = points('gradientNorm');
  return [
    {
      title: 'Loss',
      cutStart: true,
      series: present(
        { ...train, points: points('trainLoss') },
        { ...average, points: points('emaLoss') },
        { ...heldOut, points: points('validationLoss') },
      ),
    },
    {
      title: 'Perplexity',
      logarithmic: true,
      series: present(
        { ...average, points: points('emaLoss', Math.exp) },
        { ...heldOut, points: points('validationLoss', Math.exp) },
      ),
    },
    {
      title: 'Bits per byte',
      cutStart: true,
      series: present(
        { ...train, points: points('bitsPerByte') },
        { ...heldOut, points: points('validationBitsPerByte') },
      ),
    },
    {
      title: 'Learning rate',
      format: (value) => formatNumber(value, 3),
      series: present({ ...only, points: points('learningRate') }),
    },
    {
      title: 'Gradient norm',
      logarithmic: spansDecades(gradient),
      series: present({ ...only, noisy: true, points: gradient }),
    },
    {
      title: 'Tokens per second',
      format: formatCount,
      series: present({ ...only, noisy: true, points: points('tokensPerSecond') }),
    },
  ];
}

/** The largest value after the first tenth of the steps, rounded up; undefined if those before are hardly larger. */
function topAfterStart(series: readonly ChartSeries[]): number | undefined {
  const points = series.flatMap((one) => one.points.filter(([, value]) => Number.isFinite(value)));
  const last = points.reduce((end, [step]) => Math.max(end, step), 0);
  const highest = (from: number) =>
    points.reduce((high, [step, value]) => (step >= from ? Math.max(high, value) : high), 0);
  const top = highest(last / 10);
  if (top <= 0 || highest(0) < 1.3 * top) return undefined;
  const unit = top > 2 ? 0.5 : 0.1;
  return Math.ceil(top / unit) * unit;
}

/** Whether a linear axis would show only the largest values. */
function spansDecades(points: readonly Point[]): boolean {
  const values = points
    .map(([, value]) => value)
    .filter((value) => Number.isFinite(value) && value > 0)
    .sort((a, b) => a - b);
  return values.length > 0 && values.at(-1)! > 30 * values[values.length >> 1]!;
}

// ---- texts and tables ----------------------------------------------------------------------------------------------

function samples(list: RunReport['samples']): Html {
  if (list.length === 0) return html`<p class="card none">No samples were written.</p>`;
  const shown = list.toReversed().map(
    ({ step, prompt, text }) =>
      html`<div class="card sample">
        <h3>step ${step.toLocaleString('en-US')}</h3>
        <pre><mark>${prompt}</mark>${text}</pre>
      </div> `,
  );
  const earlier = shown.slice(1);
  if (earlier.length === 0) return shown[0]!;
  const label = earlier.length === 1 ? '1 earlier sample' : `${earlier.length} earlier samples`;
  return html`${shown[0]!}
    <details>
      <summary>${label}</summary>
      ${earlier}
    </details>`;
}

function modelTable({ parts, total, stateBytes }: RunReport['model']): Html {
  const rows = parts.map(({ name, parameters }) => {
    const share = Math.round((1000 * parameters) / Math.max(1, total)) / 10;
    return html`<tr>
      <th>${name}</th>
      <td class="number">${parameters.toLocaleString('en-US')}</td>
      <td class="share"><i style="width:${share}%"></i></td>
    </tr> `;
  });
  return html`<div class="card">
    <table class="parts">
      ${rows}
      <tr class="total">
        <th>all parameters</th>
        <td class="number">${total.toLocaleString('en-US')}</td>
        <td></td>
      </tr>
      <tr>
        <th>state of a sequence</th>
        <td class="number">${formatBytes(stateBytes)}</td>
        <td></td>
      </tr>
    </table>
  </div>`;
}

/** Values by name; an object becomes a group of its own. */
function factTable(facts: Readonly<Record<string, unknown>>): Html {
  const isGroup = (value: unknown): value is Record<string, unknown> =>
    typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
  const rows: Html[] = [];
  const add = (object: Readonly<Record<string, unknown>>, path: string) => {
    const entries = Object.entries(object).filter(([, value]) => value !== undefined);
    const plain = entries.filter(([, value]) => !isGroup(value));
    if (path !== '' && plain.length > 0)
      rows.push(
        html`<tr>
          <th class="group" colspan="2">${path}</th>
        </tr>`,
      );
    for (const [name, value] of plain)
      rows.push(
        html`<tr>
          <th>${spaced(name)}</th>
          <td>${fact(name, value)}</td>
        </tr>`,
      );
    for (const [name, value] of entries) if (isGroup(value)) add(value, path === '' ? name : `${path}.${name}`);
  };
  add(facts, '');
  if (rows.length === 0) return html`<p class="card none">Nothing is known.</p>`;
  return html`<div class="card">
    <table>
      ${rows}
    </table>
  </div>`;
}

/** contextLength -> context length. */
function spaced(name: string): string {
  return name.replace(/[a-z0-9](?=[A-Z])/g, '$& ').toLowerCase();
}

function fact(name: string, value: unknown): string {
  if (typeof value === 'number' && /bytes$/i.test(name)) return formatBytes(value);
  if (typeof value === 'number')
    return Number.isInteger(value) ? value.toLocaleString('en-US') : String(Number(value.toPrecision(6)));
  if (typeof value === 'string') return value === '' ? '–' : value;
  if (Array.isArray(value))
    return value.length === 0
      ? '–'
      : value.map((item) => (typeof item === 'string' ? item : JSON.stringify(item))).join(', ');
  if (value === null) return '–';
  return value instanceof Date ? value.toISOString() : String(value);
}
