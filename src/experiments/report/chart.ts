/**
 * @file Figures of a comparison as SVG, drawn by ECharts without a browser: lines and points with error bars, axes of any
 * scale, series labelled where they end. It knows nothing of what is compared.
 */
import { LineChart, ScatterChart } from 'echarts/charts';
import { GridComponent } from 'echarts/components';
import * as echarts from 'echarts/core';
import { SVGRenderer } from 'echarts/renderers';
import { escapeHtml } from '../../train/html.js';
import { makeAxis, type Axis, type AxisSpec } from './axis.js';
import { LABEL_SIZE, placeAround, placeInColumn, textWidth, type Anchor, type PlacedLabel } from './labels.js';
import { applyTheme, FIGURE_STYLE, seriesStyle, standIn, type ColourName } from './theme.js';

echarts.use([LineChart, ScatterChart, GridComponent, SVGRenderer]);

export interface FigurePoint {
  readonly x: number;
  readonly y: number;
  /** Ends of the error bar. */
  readonly low?: number;
  readonly high?: number;
}

export interface FigureSeries {
  readonly label: string;
  /** Which colour, dash and symbol: `seriesStyle`. */
  readonly style: number;
  readonly points: readonly FigurePoint[];
  readonly draw: 'line' | 'points' | 'both';
  /** A line that only helps the eye: thin, and without a label. */
  readonly faint?: boolean;
}

export interface Figure {
  /** Name of the file, and prefix of the ids in the drawing: letters, digits and hyphens. */
  readonly name: string;
  readonly title: string;
  readonly x: AxisSpec;
  readonly y: AxisSpec;
  readonly series: readonly FigureSeries[];
  /** What is to be known to read it: what the bars are, which points were left out. */
  readonly note?: string;
}

const FONT = 'system-ui, sans-serif';
const [WIDTH, HEIGHT] = [720, 470];
/** Height of the title, and of the note below it. */
const [TITLE, NOTE] = [52, 18];
const TEXT = { fontFamily: FONT, fontSize: LABEL_SIZE };
/** Longer names are written in full in the legend of the table, and cut here. */
const LONGEST_LABEL = 30;

/** A figure as a file of its own. It is readable on a light and on a dark background. */
export function standaloneFigure(figure: Figure): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n${drawing(figure, `<style>${FIGURE_STYLE}</style>\n`)}`;
}

/** A figure for a page that has `FIGURE_STYLE` among its styles. */
export const inlineFigure = (figure: Figure): string => drawing(figure, '');

function drawing(figure: Figure, style: string): string {
  const { title, note } = figure;
  return applyTheme(
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" ` +
      `role="img" aria-label="${escapeHtml(title)}">\n${style}` +
      `<rect width="100%" height="100%" fill="${standIn('card')}"/>\n` +
      text(16, 24, title, { size: 15, weight: 600, colour: 'text' }) +
      (note === undefined ? '' : text(16, 43, note)) +
      `${plot(figure)}</svg>\n`,
  );
}

interface TextStyle {
  readonly size?: number;
  readonly weight?: number;
  readonly colour?: ColourName;
  readonly align?: 'start' | 'middle' | 'end';
}

function text(x: number, y: number, content: string, style: TextStyle = {}): string {
  const { size = LABEL_SIZE, weight = 400, colour = 'muted', align = 'start' } = style;
  return (
    `<text x="${round(x)}" y="${round(y)}" font-family="${FONT}" font-size="${size}" font-weight="${weight}" ` +
    `text-anchor="${align}" fill="${standIn(colour)}">${escapeHtml(content)}</text>\n`
  );
}

const round = (value: number): number => Math.round(10 * value) / 10;

/** Where the plot lies in the drawing, and where a value lies in the plot. */
interface Frame {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
  readonly x: Axis;
  readonly y: Axis;
}

function frameOf(figure: Figure, series: readonly FigureSeries[]): Frame {
  const all = series.flatMap(({ points }) => points);
  const x = makeAxis(
    figure.x,
    all.map((point) => point.x),
    7,
  );
  const y = makeAxis(
    figure.y,
    all.flatMap((point) => [point.y, point.low ?? NaN, point.high ?? NaN]),
    6,
  );
  const named = series.filter(({ draw, faint = false }) => !faint && draw !== 'points');
  const labels = named.map(({ label }) => textWidth(shortened(label)));
  return {
    left: 26 + Math.max(...y.ticks.map((at) => textWidth(y.label(at)))),
    right: WIDTH - 24 - Math.max(0, ...labels),
    top: TITLE + (figure.note === undefined ? 0 : NOTE) + 24,
    bottom: HEIGHT - 52,
    x,
    y,
  };
}

function plot(figure: Figure): string {
  const series = figure.series.filter(({ points }) => points.length > 0);
  const frame = frameOf(figure, series);
  const { left, right, top, bottom, x, y } = frame;
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height: HEIGHT });
  try {
    chart.setOption({
      animation: false,
      grid: { left, right: WIDTH - right, top, bottom: HEIGHT - bottom, outerBoundsMode: 'none' },
      xAxis: { ...axisOption(x), axisLine: line('grid') },
      yAxis: { ...axisOption(y), splitLine: { show: true, ...line('grid') } },
      series: series.flatMap((one) => seriesOptions(one, x, y)),
    });
    return (
      inner(chart.renderToSVGString(), figure.name) +
      text((left + right) / 2, bottom + 40, x.title, { align: 'middle' }) +
      text(16, top - 14, y.title) +
      seriesNames(series, frame)
    );
  } finally {
    chart.dispose(); // or the process never ends
  }
}

const line = (colour: 'grid') => ({ lineStyle: { color: standIn(colour) } });

function axisOption({ min, max, ticks, label }: Axis) {
  return {
    type: 'value' as const,
    min,
    max,
    axisLine: { show: false },
    axisTick: { show: false, customValues: [...ticks] },
    splitLine: { show: false },
    axisLabel: {
      ...TEXT,
      color: standIn('muted'),
      customValues: [...ticks],
      formatter: label,
      hideOverlap: true,
    },
  };
}

function seriesOptions({ style, points, draw, faint = false }: FigureSeries, x: Axis, y: Axis) {
  const { colour, dash, symbol } = seriesStyle(style);
  const color = standIn(colour);
  const at = (value: number, axis: Axis): number | null => finite(axis.position(value));
  const data = points.map((point) => [at(point.x, x), at(point.y, y)]);
  const gap = [null, null];
  const bars = points.flatMap(({ x: place, low, high }) =>
    low === undefined || high === undefined ? [] : [[at(place, x), at(low, y)], [at(place, x), at(high, y)], gap],
  );
  const silent = { silent: true, z: faint ? 1 : 2 };
  const lineStyle = { color, width: faint ? 1 : 2, type: dash, join: 'round', opacity: faint ? 0.6 : 1 };
  const itemStyle = { color, opacity: 1 };
  return [
    bars.length > 0 && { type: 'line', data: bars, showSymbol: false, lineStyle: { color, width: 1.2 }, ...silent },
    draw !== 'points' && { type: 'line', data, showSymbol: false, lineStyle, ...silent },
    draw !== 'line' && { type: 'scatter', data, symbol, symbolSize: faint ? 4 : 8, itemStyle, ...silent },
  ].filter((option) => option !== false);
}

const shortened = (label: string): string =>
  label.length <= LONGEST_LABEL ? label : `${label.slice(0, LONGEST_LABEL - 1)}…`;

/** The names of the series: of lines in a column at their ends, of points beside the first of them. */
function seriesNames(series: readonly FigureSeries[], { left, right, top, bottom, x, y }: Frame): string {
  const pixel = (point: FigurePoint): { readonly x: number; readonly y: number } => ({
    x: left + ((x.position(point.x) - x.min) / (x.max - x.min)) * (right - left),
    y: bottom - ((y.position(point.y) - y.min) / (y.max - y.min)) * (bottom - top),
  });
  const seen = ({ points }: FigureSeries) => points.map(pixel).filter((at) => Number.isFinite(at.x + at.y));
  const named = series.filter((one) => one.faint !== true && seen(one).length > 0);
  const styleOf = new Map(named.map((one) => [shortened(one.label), seriesStyle(one.style)]));
  const anchors = (isLine: boolean): Anchor[] =>
    named
      .filter(({ draw }) => (draw !== 'points') === isLine)
      .map((one) => ({ ...seen(one).at(isLine ? -1 : 0)!, text: shortened(one.label) }));
  const bounds = { left, right: WIDTH - 8, top: top - 8, bottom };
  const placed = [
    ...placeInColumn(anchors(true), right + 16, top - 8, bottom + 8),
    ...placeAround(anchors(false), named.flatMap(seen), bounds),
  ];
  return placed
    .map((label) => {
      const { colour } = styleOf.get(label.text)!;
      return leader(label, colour) + text(label.textX, label.textY + 4, label.text, { colour, align: label.align });
    })
    .join('');
}

/** A thin line from a name to what it names, where they do not stand side by side. */
function leader({ x, y, textX, textY, align }: PlacedLabel, colour: ColourName): string {
  const end = align === 'start' ? textX - 3 : align === 'end' ? textX + 3 : textX;
  if (Math.hypot(end - x, textY - y) < 20 && Math.abs(textY - y) < 16) return '';
  const [from, to] = [`M${round(x)} ${round(y)}`, `L${round(end)} ${round(textY)}`];
  return `<path d="${from}${to}" fill="none" stroke="${standIn(colour)}" stroke-width="0.8" opacity="0.7"/>\n`;
}

const finite = (value: number): number | null => (Number.isFinite(value) ? value : null);

/** What the drawing holds, without a style of its own and with ids that do not meet those of another. */
function inner(svg: string, id: string): string {
  return svg
    .replace(/<style[^>]*>[^]*?<\/style>/g, '')
    .replace(/ (?:class|pointer-events|ecmeta_\w+)="[^"]*"/g, '')
    .replace(/\bzr\d+-/g, `${id}-`)
    .replace(/^[^]*?<svg [^>]*>/, '')
    .replace(/<\/svg>\s*$/, '')
    .replace(/\n+/g, '\n');
}
