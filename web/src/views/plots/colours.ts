/**
 * @file The colours of plots as numbers, from the variables of `plots.css`, so that canvases follow the colour scheme. It draws
 * nothing.
 */
import { useEffect, useState } from 'preact/hooks';

/** 'positive' and 'negative' stand on either side of 'zero'; the others tell curves apart. */
export type ColourName = 'positive' | 'negative' | 'zero' | 'ink' | 'grid' | 'third';

const dark = window.matchMedia('(prefers-color-scheme: dark)');

/** Whether the page is dark; what uses it is drawn again when that changes. */
export function useDark(): boolean {
  const [isDark, setDark] = useState(dark.matches);
  useEffect(() => {
    const tell = (): void => setDark(dark.matches);
    dark.addEventListener('change', tell);
    return () => dark.removeEventListener('change', tell);
  }, []);
  return isDark;
}

/** The value of a colour variable, as CSS writes it. */
export const colour = (name: ColourName): string =>
  getComputedStyle(document.documentElement).getPropertyValue(`--plot-${name}`).trim();

type Rgb = readonly [number, number, number];

/** Of "#rrggbb". */
const rgb = (name: ColourName): Rgb => {
  const digits = colour(name);
  return [1, 3, 5].map((at) => Number.parseInt(digits.slice(at, at + 2), 16)) as unknown as Rgb;
};

/** Colours of values from -1 to 1: from 'negative' over 'zero' to 'positive'. */
export function divergingColours(): (value: number) => Rgb {
  const [zero, positive, negative] = [rgb('zero'), rgb('positive'), rgb('negative')];
  return (value) => {
    const end = value < 0 ? negative : positive;
    // The square root shows small values too.
    const share = Math.sqrt(Math.min(1, Math.abs(value)));
    return [0, 1, 2].map((k) => Math.round(zero[k]! + share * (end[k]! - zero[k]!))) as unknown as Rgb;
  };
}

/** The background of a token or cell of weight -1 to 1, for a style attribute. */
export const shade = (weight: number): string => {
  const name = weight < 0 ? 'negative' : 'positive';
  const percent = Math.round(75 * Math.sqrt(Math.min(1, Math.abs(weight))));
  return `color-mix(in srgb, var(--plot-${name}) ${percent}%, transparent)`;
};
