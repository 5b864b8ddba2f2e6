/**
 * @file Colours of the figures: plain values that every program that shows SVG knows, and a style sheet by which the same
 * drawing turns light on a dark background. The series colours are told apart by the colour-blind (Okabe and Ito 2008,
 * without its yellow, which is lost on white); beyond them dashes and symbols differ. It draws nothing.
 */

/** By the name of its CSS class: on light, on dark. */
const COLOURS = {
  text: ['#1b1f27', '#e6e9ef'],
  muted: ['#566070', '#9aa5b5'],
  grid: ['#e3e7ee', '#2b323e'],
  card: ['#ffffff', '#1a1f28'],
  s0: ['#0072b2', '#5ab0ea'],
  s1: ['#d55e00', '#ff8a45'],
  s2: ['#009e73', '#3fc9a0'],
  s3: ['#b0538f', '#e39ac9'],
  s4: ['#b87700', '#f0b640'],
  s5: ['#3d9bd1', '#9bd5f7'],
  s6: ['#4a4f5a', '#c3c9d4'],
} as const;

export type ColourName = keyof typeof COLOURS;

const SERIES = ['s0', 's1', 's2', 's3', 's4', 's5', 's6'] as const satisfies readonly ColourName[];
const DASHES = ['solid', [7, 3], [2, 3], [9, 3, 2, 3]] as const;
/** Shapes that stay apart when small. */
const SYMBOLS = ['circle', 'triangle', 'rect', 'diamond'] as const;

export interface SeriesStyle {
  readonly colour: ColourName;
  readonly dash: 'solid' | number[];
  readonly symbol: (typeof SYMBOLS)[number];
}

/** The look of the k-th thing that is compared; it repeats after 28. */
export function seriesStyle(k: number): SeriesStyle {
  const round = Math.floor(k / SERIES.length);
  const dash = DASHES[round % DASHES.length]!;
  return {
    colour: SERIES[k % SERIES.length]!,
    dash: dash === 'solid' ? dash : [...dash],
    symbol: SYMBOLS[round % SYMBOLS.length]!,
  };
}

/** Rules for a page or a drawing: presentation attributes hold the light colours, and a class overrides them on dark. */
export const FIGURE_STYLE = `@media (prefers-color-scheme: dark) {\n${Object.entries(COLOURS)
  .map(([name, [, dark]]) => `.f-${name} { fill: ${dark}; } .l-${name} { stroke: ${dark}; }`)
  .join('\n')}\n}`;

/** ECharts computes with colours and keeps them apart only by value, so each is given one that no other has. */
export function standIn(name: ColourName): string {
  return `#0100${(Object.keys(COLOURS).indexOf(name) + 16).toString(16)}`;
}

/** Replaces the stand-ins in attributes by the light colours and names the classes of the element. */
export function applyTheme(svg: string): string {
  const byStandIn = new Map(Object.keys(COLOURS).map((name) => [standIn(name as ColourName), name as ColourName]));
  return svg.replace(/<([\w:]+)((?:\s[^<>]*?)?)(\/?)>/g, (_, tag: string, attributes: string, end: string) => {
    const classes: string[] = [];
    const themed = attributes.replace(/ (fill|stroke)="(#0100[0-9a-f]{2})"/g, (whole, kind: string, value: string) => {
      const name = byStandIn.get(value);
      if (name === undefined) return whole;
      classes.push(`${kind === 'fill' ? 'f' : 'l'}-${name}`);
      return ` ${kind}="${COLOURS[name][0]}"`;
    });
    return `<${tag}${themed}${classes.length === 0 ? '' : ` class="${classes.join(' ')}"`}${end}>`;
  });
}
