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

type Rgb = readonly [number, number, number];

/** A canvas cannot read variables or `light-dark()`: an element can, and says what comes of it. */
function rgb(name: ColourName): Rgb {
  const probe = document.createElement('i');
  probe.style.color = `var(--plot-${name})`;
  document.body.append(probe);
  const [r, g, b] = getComputedStyle(probe).color.match(/[\d.]+/g)!.map(Number);
  probe.remove();
  return [r!, g!, b!];
}

/** A colour for a canvas, in the scheme of now. */
export const colour = (name: ColourName): string => `rgb(${rgb(name).join(' ')})`;

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
