/** @file The loss over the steps, on the text that is trained on and on text that is held out, drawn by uPlot. */
import { useEffect, useRef } from 'preact/hooks';
import type uPlot from 'uplot';
import { rows, usePage } from '../../state.js';
import { grouped } from '../parts/grouped.js';

const HEIGHT = 260;
/** Weight of what came before in the smoothed loss. */
const SMOOTHING = 0.9;
/** More are not drawn: neighbours become one. */
const MOST_POINTS = 2000;

/** Steps, losses, smoothed losses, and losses on held-out text where there are; of neighbouring steps where there are many. */
function columns(): uPlot.AlignedData {
  const stride = Math.ceil(Math.max(rows.length, 1) / MOST_POINTS);
  const [steps, losses, smoothed]: [number[], number[], number[]] = [[], [], []];
  const heldOut: (number | null)[] = [];
  let [mean, weight] = [0, 0];
  for (let start = 0; start < rows.length; start += stride) {
    const end = Math.min(start + stride, rows.length);
    let [sum, last]: [number, number | null] = [0, null];
    for (let k = start; k < end; k++) {
      const row = rows[k]!;
      sum += row.loss;
      last = row.heldOut ?? last;
    }
    const loss = sum / (end - start);
    mean = SMOOTHING * mean + (1 - SMOOTHING) * loss;
    weight = SMOOTHING * weight + (1 - SMOOTHING);
    steps.push(rows[end - 1]!.step);
    losses.push(loss);
    smoothed.push(mean / weight);
    heldOut.push(last);
  }
  return [steps, losses, smoothed, heldOut];
}

/** A plot in the colours of the page. @param Plot  the library, which is fetched when the curve is first shown */
function plotIn(element: HTMLElement, Plot: typeof uPlot): uPlot {
  const style = getComputedStyle(element);
  const color = (name: string): string => style.getPropertyValue(name).trim();
  const number = (digits: number) => (_: uPlot, value: number | null) => (value === null ? '–' : value.toFixed(digits));
  const axis = {
    stroke: color('--ink-soft'),
    font: `12px ${style.fontFamily}`,
    grid: { stroke: color('--line'), width: 1 },
    ticks: { show: false },
  };
  return new Plot(
    {
      width: element.clientWidth,
      height: HEIGHT,
      cursor: { y: false, points: { size: 6 } },
      scales: { x: { time: false } },
      axes: [
        {
          ...axis,
          space: 70,
          size: 30,
          values: (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? grouped(tick) : '')),
        },
        { ...axis, size: 44, values: (_, ticks) => ticks.map((tick) => String(Number(tick.toFixed(3)))) },
      ],
      series: [
        { label: 'Step', value: number(0) },
        { label: 'Training', stroke: color('--curve-faint'), width: 1, points: { show: false }, value: number(3) },
        { label: 'Smoothed', stroke: color('--curve'), width: 2, points: { show: false }, value: number(3) },
        {
          label: 'Held-out',
          stroke: color('--curve-held-out'),
          width: 2,
          spanGaps: true,
          points: { show: true, size: 5, fill: color('--curve-held-out') },
          value: number(3),
        },
      ],
    },
    columns(),
    element,
  );
}

export function LossCurve() {
  const { revision } = usePage();
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);

  useEffect(() => {
    const element = place.current!;
    let isShown = true;
    const draw = async (): Promise<void> => {
      const { default: Plot } = await import('uplot');
      await new Promise((resolve) => setTimeout(resolve)); // drawing is a task of its own
      if (!isShown) return;
      plot.current?.destroy();
      plot.current = plotIn(element, Plot);
    };
    void draw();
    const scheme = matchMedia('(prefers-color-scheme: dark)');
    const redraw = (): void => void draw();
    scheme.addEventListener('change', redraw);
    const sizes = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height: HEIGHT }));
    sizes.observe(element);
    return () => {
      isShown = false;
      scheme.removeEventListener('change', redraw);
      sizes.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, []);

  useEffect(() => plot.current?.setData(columns()), [revision]);

  const last = rows.at(-1);
  const summary =
    last === undefined
      ? 'Loss curve, empty so far'
      : `Loss curve: ${rows[0]!.loss.toFixed(2)} at step 1, ${last.loss.toFixed(2)} at step ${last.step}`;
  return (
    <figure class="curve">
      <div ref={place} role="img" aria-label={summary} class={last === undefined ? 'empty' : ''} />
      <figcaption class="hint">Loss in nats per token; lower is better.</figcaption>
    </figure>
  );
}
