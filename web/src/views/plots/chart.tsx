/** @file Curves over tokens or steps, drawn by uPlot, with one place that is marked. It does not know what they mean. */
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { useEffect, useRef } from 'preact/hooks';
import { colour, useDark, type ColourName } from './colours.js';
import { later } from './later.js';
import { short } from './numbers.js';

export interface Curve {
  readonly label: string;
  readonly values: ArrayLike<number | null>;
  readonly colour: ColourName;
  readonly dash?: readonly number[];
  /** Steps instead of lines between values: each holds until the next. */
  readonly isStepped?: boolean;
}

export interface ChartProps {
  readonly title: string;
  /** A sentence on what is to be seen, for those who cannot. */
  readonly description: string;
  readonly curves: readonly Curve[];
  /** Default: 1, 2, 3 and so on. */
  readonly x?: ArrayLike<number>;
  readonly xLabel?: string;
  readonly isLog?: boolean;
  /** The least that the vertical axis spans. */
  readonly span?: readonly [number, number];
  readonly height?: number;
  /** Index of the place that is marked. */
  readonly marked?: number | null;
  /** Indices of further places that get a thin line. */
  readonly ticks?: readonly number[];
  readonly onPoint?: (index: number | null) => void;
  readonly onPick?: (index: number) => void;
}

export function Chart(props: ChartProps) {
  const { title, description, curves, height = 150 } = props;
  const holder = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const isDark = useDark();
  const shape = JSON.stringify([curves.map(({ label, dash }) => [label, dash]), props.isLog, height]);

  useEffect(() => {
    const element = holder.current!;
    const watcher = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height }));
    const cancel = later(() => {
      plot.current = new uPlot(optionsOf(latest, element.clientWidth, height), dataOf(latest.current), element);
      watcher.observe(element);
    });
    return () => {
      cancel();
      watcher.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [shape, isDark]);

  useEffect(
    () => later(() => plot.current?.setData(dataOf(latest.current))),
    [props.x, ...curves.map(({ values }) => values)],
  );
  useEffect(() => later(() => plot.current?.redraw(false)), [props.marked, props.ticks]);

  return (
    <figure class="plot">
      <figcaption>
        <span class="plot-title">{title}</span>
        <span class="plot-legend">
          {curves.length > 1 &&
            curves.map((curve) => (
              <span key={curve.label}>
                <i style={{ color: `var(--plot-${curve.colour})`, borderTopStyle: curve.dash ? 'dashed' : 'solid' }} />
                {curve.label}
              </span>
            ))}
        </span>
      </figcaption>
      <div
        ref={holder}
        class="plot-canvas"
        style={{ height: `${height}px` }}
        role="img"
        aria-label={`${title}. ${description}`}
      />
    </figure>
  );
}

function dataOf({ x, curves }: ChartProps): uPlot.AlignedData {
  const length = curves[0]?.values.length ?? 0;
  const places = x === undefined ? Array.from({ length }, (_, k) => k + 1) : Array.from(x);
  return [
    places,
    ...curves.map(({ values }) => Array.from(values, (value) => (Number.isFinite(value) ? value : null))),
  ];
}

function optionsOf(latest: { readonly current: ChartProps }, width: number, height: number): uPlot.Options {
  const { curves, isLog = false, xLabel } = latest.current;
  const [ink, grid] = [colour('ink'), colour('grid')];
  const font = `11px ${getComputedStyle(document.body).fontFamily}`;
  const axis = { stroke: ink, font, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1, size: 4 } };
  return {
    width,
    height,
    legend: { show: false },
    cursor: { x: true, y: false, points: { show: true, size: 6 }, drag: { x: false, y: false } },
    scales: {
      x: { time: false },
      y: isLog ? { distr: 3 } : { range: (_, low, high) => spanOf(latest.current, low, high) },
    },
    axes: [
      {
        ...axis,
        size: xLabel === undefined ? 26 : 40,
        ...(xLabel === undefined ? {} : { label: xLabel, labelSize: 14, labelFont: font }),
      },
      { ...axis, size: 46, values: (_, marks) => marks.map((mark) => (mark === null ? '' : short(mark))) },
    ],
    series: [
      {},
      ...curves.map(({ label, colour: name, dash, isStepped }) => ({
        label,
        ...{ stroke: colour(name), width: 1.5, points: { show: false } },
        ...(dash === undefined ? {} : { dash: [...dash] }),
        ...(isStepped ? { paths: uPlot.paths.stepped!({ align: 1 }) } : {}),
      })),
    ],
    hooks: {
      draw: [(made) => drawMarks(made, latest.current)],
      setCursor: [({ cursor }) => latest.current.onPoint?.(cursor.idx ?? null)],
      ready: [
        ({ over, cursor }) =>
          over.addEventListener('click', () => {
            if (typeof cursor.idx === 'number') latest.current.onPick?.(cursor.idx);
          }),
      ],
    },
  };
}

/** The range of the values with some air, and at least what was asked for. */
function spanOf({ span }: ChartProps, low: number | null, high: number | null): [number, number] {
  const [from, to] = [Math.min(low ?? 0, span?.[0] ?? Infinity), Math.max(high ?? 1, span?.[1] ?? -Infinity)];
  const air = (to - from || Math.abs(to) || 1) * 0.05;
  return [
    span !== undefined && from === span[0] ? from : from - air,
    span !== undefined && to === span[1] ? to : to + air,
  ];
}

function drawMarks(made: uPlot, { marked = null, ticks = [] }: ChartProps): void {
  const { ctx, bbox, data } = made;
  const line = (index: number, name: ColourName, width: number): void => {
    const place = data[0][index];
    if (place === undefined) return;
    const x = Math.round(made.valToPos(place, 'x', true)) + 0.5;
    ctx.save();
    [ctx.strokeStyle, ctx.lineWidth] = [colour(name), width * devicePixelRatio];
    ctx.setLineDash([]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.restore();
  };
  for (const index of ticks) line(index, 'positive', 1);
  if (marked !== null) line(marked, 'ink', 1.5);
}
