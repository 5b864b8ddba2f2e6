import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatTick, makeAxis } from '../../src/experiments/report/axis.js';
import { inlineFigure, standaloneFigure, type Figure } from '../../src/experiments/report/chart.js';
import { placeAround, placeInColumn } from '../../src/experiments/report/labels.js';
import { seriesStyle } from '../../src/experiments/report/theme.js';
import { checkMarkup, externalAddresses } from '../support/markup.js';

const figure: Figure = {
  name: 'lengths',
  title: 'Accuracy <by> "length" & model',
  note: 'bars: standard deviation',
  x: { title: 'length in symbols', scale: 'log2' },
  y: { title: 'accuracy', scale: 'linear', min: 0, max: 1 },
  series: Array.from({ length: 12 }, (_, k) => ({
    label: `model ${k} <&>`,
    style: k,
    draw: k % 3 === 0 ? 'points' : 'both',
    points: [64, 128, 256, 512].map((x) => ({ x, y: k === 5 ? NaN : 0.2 + k / 100, low: 0.1, high: 0.4 })),
  })),
};

describe('a figure', () => {
  it('is well-formed SVG with its titles, and asks for nothing from outside', () => {
    const svg = standaloneFigure(figure);
    expect(checkMarkup(svg)).toBeNull();
    expect(externalAddresses(svg)).toEqual([]);
    for (const part of ['length in symbols', 'accuracy', 'bars: standard deviation', 'model 11 &lt;&amp;&gt;'])
      expect(svg).toContain(`>${part}</text>`);
    expect(svg).toContain('Accuracy &lt;by&gt; &quot;length&quot; &amp; model');
    expect(svg).not.toContain('model 5 '); // nothing of it was measured
  });

  it('is dark on light, and light on dark by its style sheet', () => {
    const svg = standaloneFigure(figure);
    expect(svg).toContain('prefers-color-scheme: dark');
    const texts = [...svg.matchAll(/<text [^>]*>/g)].map(([tag]) => tag);
    expect(texts.length).toBeGreaterThan(20);
    for (const tag of texts) {
      const light = /fill="#(..)(..)(..)" class="f-\w+"/
        .exec(tag)
        ?.slice(1)
        .map((hex) => parseInt(hex, 16));
      expect(light, tag).toBeDefined();
      expect(contrastToWhite(light!), tag).toBeGreaterThan(2.9);
    }
    expect(svg).not.toMatch(/#0100[0-9a-f]{2}/); // no stand-in is left
    expect(inlineFigure(figure)).not.toContain('<style>');
  });

  it('shows a figure without points', () => {
    const svg = standaloneFigure({ ...figure, series: [] });
    expect(checkMarkup(svg)).toBeNull();
    expect(svg).not.toContain('NaN');
  });

  it('gives 28 things looks that differ', () => {
    const looks = Array.from({ length: 28 }, (_, k) => JSON.stringify(seriesStyle(k)));
    expect(new Set(looks).size).toBe(28);
  });
});

/** Ratio of the luminances, by WCAG 2. */
function contrastToWhite(rgb: readonly number[]): number {
  const [r, g, b] = rgb.map((value) => {
    const x = value / 255;
    return x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
  });
  return 1.05 / (0.2126 * r! + 0.7152 * g! + 0.0722 * b! + 0.05);
}

describe('the check of markup', () => {
  it('finds what is wrong', () => {
    expect(checkMarkup('<a><b></a></b>')).toContain('</a>');
    expect(checkMarkup('<a x=1></a>')).toContain('x=1');
    expect(checkMarkup('<a>')).toContain('<a>');
    expect(checkMarkup('<a x="1">&nope < </a>')).not.toBeNull();
    expect(checkMarkup('<a x="1">&amp;<br/></a>')).toBeNull();
    expect(externalAddresses('<a href="https://x.org">')).toEqual(['https://x.org']);
    expect(externalAddresses('<style>@import "//x.org/a.css"</style><b style="background:url(x.png)">')).toHaveLength(
      2,
    );
  });
});

describe('an axis', () => {
  const ticks = (scale: 'linear' | 'log10' | 'log2', values: number[]): string[] => {
    const axis = makeAxis({ title: '', scale }, values, 6);
    return axis.ticks.map((at) => axis.label(at));
  };

  it('has round ticks on every scale', () => {
    expect(ticks('linear', [0, 1])).toEqual(['0', '0.2', '0.4', '0.6', '0.8', '1']);
    expect(ticks('log2', [64, 1024])).toEqual(['64', '128', '256', '512', '1k']);
    expect(ticks('log10', [1e16, 3e21])).toEqual(['1e16', '1e17', '1e18', '1e19', '1e20', '1e21']);
    expect(ticks('log10', [2, 70])).toEqual(['2', '5', '10', '20', '50']);
    expect(ticks('log10', [12.1, 14.9])).toEqual(['12', '13', '14', '15']);
  });

  it('shows all its values, whatever they are', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 1e-9, max: 1e25, noNaN: true }), { minLength: 1, maxLength: 5 }),
        fc.constantFrom('linear' as const, 'log10' as const, 'log2' as const),
        (values, scale) => {
          const axis = makeAxis({ title: '', scale }, [...values, NaN, Infinity], 6);
          expect(axis.max).toBeGreaterThan(axis.min);
          for (const value of values) {
            expect(axis.position(value)).toBeGreaterThanOrEqual(axis.min);
            expect(axis.position(value)).toBeLessThanOrEqual(axis.max);
          }
          expect(axis.ticks.length).toBeGreaterThan(0);
          expect(axis.ticks.length).toBeLessThan(12);
        },
      ),
    );
  });

  it('writes numbers shortly', () => {
    const written = [0, 0.05, 0.5, 12, 13.25, 1500, 1.637e8, 1e21, 2.5e-7].map(formatTick);
    expect(written).toEqual(['0', '0.05', '0.5', '12', '13.25', '1.5k', '163.7M', '1e21', '2.5e-7']);
  });
});

describe('labels', () => {
  const heights = fc.array(fc.double({ min: 0, max: 300, noNaN: true }), { minLength: 1, maxLength: 15 });

  it('in a column keep apart, keep their order and stay inside', () => {
    fc.assert(
      fc.property(heights, (ys) => {
        const placed = placeInColumn(ys.map((y, k) => ({ x: 0, y, text: `${k}` })), 10, 0, 300); // prettier-ignore
        const byAnchor = placed.toSorted((a, b) => a.textY - b.textY);
        byAnchor.forEach((label, k) => {
          if (k === 0) return;
          expect(label.textY - byAnchor[k - 1]!.textY).toBeGreaterThan(14.9);
          expect(label.y).toBeGreaterThanOrEqual(byAnchor[k - 1]!.y);
        });
        for (const { textY } of placed) expect(textY).toBeGreaterThanOrEqual(7.4);
        for (const { textY } of placed) expect(textY).toBeLessThanOrEqual(292.6);
        expect(placed).toHaveLength(ys.length);
      }),
    );
  });

  it('stand where they would like when there is room', () => {
    const [only] = placeInColumn([{ x: 3, y: 120, text: 'a' }], 10, 0, 300);
    expect(only).toMatchObject({ textX: 10, textY: 120 });
    const bounds = { left: 0, right: 500, top: 0, bottom: 300 };
    const crowd = [100, 104, 108].map((x) => ({ x, y: 100, text: 'name' }));
    const placed = placeAround(crowd, crowd, bounds);
    const boxes = placed.map(({ textX, textY, align, text }) => {
      const width = 6.9 * text.length;
      return { left: textX - (align === 'start' ? 0 : align === 'end' ? width : width / 2), width, y: textY };
    });
    for (const [k, a] of boxes.entries())
      for (const b of boxes.slice(k + 1))
        expect(Math.abs(a.y - b.y) >= 14 || a.left + a.width <= b.left || b.left + b.width <= a.left).toBe(true);
  });
});
