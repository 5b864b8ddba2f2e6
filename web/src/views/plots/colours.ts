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
  const [r, g, b] = getComputedStyle(probe)
    .color.match(/[\d.]+/g)!
    .map(Number);
  probe.remove();
  return [r!, g!, b!];
}

/** A colour for a canvas, in the scheme of now. */
export const colour = (name: ColourName): string => `rgb(${rgb(name).join(' ')})`;

/** Steps of the scale on either side of zero. */
const SIDE = 255;

/** Red, green, blue and opacity in the order of memory, from 'negative' over 'zero' to 'positive' [2*SIDE+1]. */
export function divergingPalette(): Uint32Array {
  const [zero, positive, negative] = [rgb('zero'), rgb('positive'), rgb('negative')];
  const bytes = new Uint8ClampedArray(4 * (2 * SIDE + 1));
  for (let index = 0; index <= 2 * SIDE; index++) {
    const end = index < SIDE ? negative : positive;
    const share = visibility(Math.abs(index - SIDE) / SIDE);
    for (let k = 0; k < 3; k++) bytes[4 * index + k] = zero[k]! + share * (end[k]! - zero[k]!);
    bytes[4 * index + 3] = 255;
  }
  return new Uint32Array(bytes.buffer);
}

/** Place in the palette of a value from -1 to 1; what lies beyond counts as the end. */
export const paletteIndex = (value: number): number => SIDE + Math.round(SIDE * Math.max(-1, Math.min(1, value || 0)));

/** The square root shows small values too. */
const visibility = (size: number): number => Math.sqrt(Math.min(1, size));

/** The background of a token or cell of weight -1 to 1, for a style attribute. */
export const shade = (weight: number): string => {
  const name = weight < 0 ? 'negative' : 'positive';
  const percent = Math.round(75 * visibility(Math.abs(weight)));
  return `color-mix(in srgb, var(--plot-${name}) ${percent}%, transparent)`;
};
