/**
 * @file Axes of a figure: where values fall, which ticks they have and how those are written. Logarithms are taken here,
 * since the chart library labels too few values of its own logarithmic axes.
 */
import { formatCount, formatNumber } from '../../format.js';

export interface AxisSpec {
  /** With its unit. */
  readonly title: string;
  readonly scale: 'linear' | 'log10' | 'log2';
  /** Ends that are kept even where no value lies there. */
  readonly min?: number;
  readonly max?: number;
  readonly format?: (value: number) => string;
}

/** An axis ready to be drawn; positions are in its own measure, values or logarithms of them. */
export interface Axis {
  readonly title: string;
  readonly min: number;
  readonly max: number;
  readonly ticks: readonly number[];
  position(value: number): number;
  label(position: number): string;
}

const forward = { linear: (x: number) => x, log10: Math.log10, log2: Math.log2 } as const;
const backward = { linear: (x: number) => x, log10: (x: number) => 10 ** x, log2: (x: number) => 2 ** x } as const;

/** @param values  all that is to be shown; what is not finite, or has no logarithm, is left out. */
export function makeAxis(spec: AxisSpec, values: readonly number[], count: number): Axis {
  const { scale, format = formatTick } = spec;
  const position = forward[scale];
  const shown = [...values, spec.min, spec.max]
    .filter((value) => value !== undefined)
    .map(position)
    .filter(Number.isFinite);
  const [low, high] = widened(Math.min(...shown), Math.max(...shown), scale, spec);
  const ticks = (scale === 'linear' ? linearTicks : scale === 'log2' ? powerTicks : decadeTicks)(low, high, count);
  return {
    title: spec.title,
    min: low,
    max: high,
    ticks,
    position,
    label: (at) => format(Number(backward[scale](at).toPrecision(12))),
  };
}

/** A little air around the values, but not beyond an end that was asked for. */
function widened(low: number, high: number, scale: AxisSpec['scale'], spec: AxisSpec): [number, number] {
  if (!(low <= high)) return scale === 'linear' ? [0, 1] : [0, 3]; // nothing to show
  // Where all values are about the same, enough that ticks are found; in powers of two a whole octave.
  const narrow = high - low < (scale === 'linear' ? 1e-6 * Math.abs(high) : scale === 'log2' ? 1 : 1e-3);
  const around = scale === 'linear' ? Math.max(Math.abs(high) / 2, 1e-9) : 0.5;
  const air = narrow ? around : 0.04 * (high - low) || around;
  const given = (end: number | undefined): number | undefined => (end === undefined ? undefined : forward[scale](end));
  const [least, most] = [given(spec.min), given(spec.max)];
  return [
    least !== undefined && least <= low ? least : low - air,
    most !== undefined && most >= high ? most : high + air,
  ];
}

function linearTicks(low: number, high: number, count: number): number[] {
  const least = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((nice) => nice >= least * 0.999) ?? least;
  return multiples(low, high, step);
}

const multiples = (low: number, high: number, step: number): number[] => {
  const [first, last] = [Math.ceil(low / step - 1e-9), Math.floor(high / step + 1e-9)];
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, k) => Number(((first + k) * step).toPrecision(12)));
};

const powerTicks = (low: number, high: number, count: number): number[] =>
  multiples(low, high, Math.max(1, Math.ceil((high - low) / count)));

/** Decades, or within few of them also 1-2-5 or 1-1.5-2-3-5-7 of each, whichever comes closest to the count. */
function decadeTicks(low: number, high: number, count: number): number[] {
  if (high - low >= count) return multiples(low, high, Math.ceil((high - low) / count));
  const within = (factors: readonly number[]): number[] =>
    Array.from({ length: Math.floor(high) - Math.floor(low) + 1 }, (_, k) => Math.floor(low) + k)
      .flatMap((decade) => factors.map((factor) => decade + Math.log10(factor)))
      .filter((at) => at >= low - 1e-9 && at <= high + 1e-9);
  const sets = [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 5, 7]].map(within);
  const fitting = sets.findLast((ticks) => ticks.length <= count + 2) ?? sets[0]!;
  if (fitting.length >= 4) return fitting;
  // Less than a decade: as on a linear axis.
  const linear = linearTicks(10 ** low, 10 ** high, count)
    .map(Math.log10)
    .filter(Number.isFinite);
  return linear.length > fitting.length ? linear : fitting;
}

/** 0.05, 12, 1.5k, 163M, 1e21. */
export function formatTick(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e15) return value.toExponential(1).replace('.0e+', 'e').replace('e+', 'e');
  if (size >= 1000) return formatCount(value).replace(/\.0(?=\D|$)/, '');
  if (size !== 0 && size < 1e-3) return value.toExponential(1).replace('.0e', 'e');
  return formatNumber(value, 4)
    .replace(/(\.\d*?)0+$/, '$1')
    .replace(/\.$/, '');
}
