/**
 * @file Line charts of a run, or of an evaluation, as SVG text, drawn by ECharts without a browser. Colours are CSS
 * variables, so that one drawing serves light and dark. It does not know the page around them.
 */
import { LineChart } from 'echarts/charts';
import { GridComponent } from 'echarts/components';
import * as echarts from 'echarts/core';
import { SVGRenderer } from 'echarts/renderers';
import { formatCount, formatNumber } from '../format.js';

echarts.use([LineChart, GridComponent, SVGRenderer]);

/** [step, value], in the order of the steps; a value that is not finite leaves a gap. */
export type Point = readonly [step: number, value: number];

export interface ChartSeries {
  readonly label: string;
  /** Name of the CSS variable with its colour. */
  readonly color: ChartColor;
  readonly points: readonly Point[];
  /** Measured at every step and noisy: drawn thin. */
  readonly noisy?: boolean;
  /** Measured now and then: drawn with a dot per point. */
  readonly dots?: boolean;
}

export interface ChartOptions {
  readonly width: number;
  readonly height: number;
  /** Prefix of the ids inside the SVG; unique on the page. */
  readonly id: string;
  readonly label: string;
  readonly logarithmic?: boolean;
  /** Upper end of the vertical axis: what lies above is cut off. */
  readonly top?: number;
  /** The horizontal axis in powers of two, from the first point on, instead of linear from 0; for steps from 1. */
  readonly powersOfTwo?: boolean;
}

/** ECharts computes with colours, so it gets stand-ins that are replaced in its output. */
const STAND_INS = {
  '--series-a': '#010001',
  '--series-b': '#010002',
  '--series-c': '#010003',
  '--grid': '#010004',
  '--muted': '#010005',
} as const;
export type ChartColor = '--series-a' | '--series-b' | '--series-c';

const FONT = 'system-ui, sans-serif';
const AXIS_LABEL = { color: STAND_INS['--muted'], fontFamily: FONT, fontSize: 12, hideOverlap: true };
/** More points than a chart has pixels only cost bytes. */
const BUCKETS = 300;

/** One chart as an SVG element that scales with the page. */
export function renderChart(series: readonly ChartSeries[], options: ChartOptions): string {
  const { width, height, logarithmic = false, powersOfTwo = false } = options;
  const splitLine = { show: true, lineStyle: { color: STAND_INS['--grid'] } };
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width, height });
  try {
    chart.setOption({
      animation: false,
      grid: { left: 4, right: 16, top: 10, bottom: 4 },
      xAxis: {
        ...(powersOfTwo ? octaveAxis(series, width) : stepAxis(series, width)),
        axisLine: { lineStyle: { color: STAND_INS['--grid'] } },
        axisTick: { show: false },
        splitLine: { show: false },
      },
      yAxis: {
        type: logarithmic ? 'log' : 'value',
        scale: true,
        ...(options.top === undefined ? {} : { max: options.top }),
        splitNumber: 4,
        axisLine: { show: false },
        axisTick: { show: false },
        splitLine,
        axisLabel: { ...AXIS_LABEL, formatter: formatTick },
      },
      series: series.map(({ label, color, points, noisy = false, dots = false }) => ({
        type: 'line',
        name: label,
        data: thin(powersOfTwo ? points.map(([x, y]) => [Math.log2(x), y]) : points, logarithmic),
        showSymbol: dots,
        symbol: 'circle',
        symbolSize: points.length > 40 ? 3 : 5,
        itemStyle: { color: STAND_INS[color] },
        lineStyle: { color: STAND_INS[color], width: noisy ? 1 : 2, join: 'round' },
      })),
    });
    return finish(chart.renderToSVGString(), options);
  } finally {
    chart.dispose(); // or the process never ends
  }
}

const lastX = (series: readonly ChartSeries[]): number =>
  Math.max(1, ...series.map(({ points }) => points.at(-1)?.[0] ?? 0));

function stepAxis(series: readonly ChartSeries[], width: number) {
  const max = lastX(series);
  const interval = niceInterval(max, width < 400 ? 4 : 6);
  const formatter = (step: number): string => (step % interval === 0 ? formatStep(step) : '');
  return { type: 'value' as const, min: 0, max, interval, axisLabel: { ...AXIS_LABEL, formatter } };
}

/** An axis of logarithms to base 2, labelled with the powers; ECharts' own log axis labels too few of them. */
function octaveAxis(series: readonly ChartSeries[], width: number) {
  const min = Math.log2(Math.min(...series.flatMap(({ points }) => points.slice(0, 1).map(([x]) => x))));
  const max = Math.max(Math.log2(lastX(series)), min + 1); // also where there is a single point
  const interval = Math.ceil((max - min) / (width < 400 ? 6 : 10));
  const formatter = (log: number): string => (Number.isInteger(log) ? String(2 ** log) : '');
  return { type: 'value' as const, min, max, interval, axisLabel: { ...AXIS_LABEL, formatter } };
}

/** 1, 2, 2.5 or 5 times a power of ten, at least 1, so that at most `count` of them fill the axis. */
function niceInterval(end: number, count: number): number {
  const least = end / count;
  const power = 10 ** Math.floor(Math.log10(least));
  const nice = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((interval) => interval >= least) ?? least;
  return Math.max(1, Math.ceil(nice));
}

function formatStep(step: number): string {
  return formatCount(step).replace(/\.0(?=\D|$)/, '');
}

function formatTick(value: number): string {
  const size = Math.abs(value);
  if (size >= 1000) return formatStep(value);
  if (size !== 0 && size < 0.01) return value.toExponential(1).replace('.0e', 'e');
  return size < 1 ? String(Number(value.toPrecision(3))) : formatNumber(value, 4).replace(/\.?0+$/, '');
}

/** At most two points per bucket of steps, the lowest and the highest, in their order; gaps stay gaps. */
function thin(points: readonly Point[], positive: boolean): (readonly [number, number | null])[] {
  const size = Math.max(1, Math.ceil(points.length / BUCKETS));
  const thinned: (readonly [number, number | null])[] = [];
  for (let begin = 0; begin < points.length; begin += size) {
    const bucket = points.slice(begin, begin + size);
    const finite = bucket.filter(([, value]) => Number.isFinite(value) && (!positive || value > 0));
    const ends = [
      finite.reduce<Point | undefined>((low, point) => (low && low[1] <= point[1] ? low : point), undefined),
      finite.reduce<Point | undefined>((high, point) => (high && high[1] >= point[1] ? high : point), undefined),
    ].filter((point) => point !== undefined);
    thinned.push(...[...new Set(ends)].sort(([a], [b]) => a - b));
    if (finite.length < bucket.length) thinned.push([bucket.at(-1)![0], null]);
  }
  return thinned;
}

/** What a page needs of the drawing: no styles of its own, ids that do not meet those of another, CSS colours. */
function finish(svg: string, { id, label, width, height }: ChartOptions): string {
  let text = svg
    .replace(/<style[^>]*>[^]*?<\/style>/g, '')
    .replace(/ (?:class|pointer-events|ecmeta_\w+)="[^"]*"/g, '')
    .replace(/\bzr\d+-/g, `${id}-`)
    .replace(
      /<svg [^>]*>/,
      `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${label}">`,
    )
    .replace(/\n+/g, '\n');
  for (const [name, standIn] of Object.entries(STAND_INS)) text = text.replaceAll(standIn, `var(${name})`);
  return text;
}
