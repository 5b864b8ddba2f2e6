import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import * as fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { printable } from '../../src/format.js';
import type { MetricsRow } from '../../src/train/metrics-log.js';
import { renderChart } from '../../src/train/report-charts.js';
import { renderReport, writeReport, type RunReport } from '../../src/train/report.js';
import { systemError, temporaryFolder } from '../support/folders.js';

afterEach(() => vi.restoreAllMocks());

const rows = (count: number): MetricsRow[] =>
  Array.from({ length: count }, (_, i) => ({
    step: i + 1,
    time: 1.7e9 + i,
    elapsedSeconds: 90 + i,
    tokens: 1000 * (i + 1),
    trainLoss: 2 + 3 / (i + 1),
    emaLoss: 2 + 4 / (i + 1),
    bitsPerByte: 1 + 2 / (i + 1),
    learningRate: 1e-3,
    gradientNorm: 0.5,
    tokensPerSecond: 12_000 + (i % 7),
    ...(i % 10 === 9 ? { validationLoss: 2.2 + 3 / (i + 1), validationBitsPerByte: 1.1 + 2 / (i + 1) } : {}),
  }));

const report: RunReport = {
  title: 'a run',
  created: new Date('2026-07-12T14:05:00Z'),
  device: 'cpu: two threads',
  config: { name: 'x', training: { steps: 60, seed: 0 }, model: { blocks: ['mlstm', 'slstm'], mlstm: { heads: 4 } } },
  model: {
    description: 'xLSTM, 2 blocks',
    parts: [
      { name: 'embedding', parameters: 8320 },
      { name: 'blocks.0', parameters: 231_000 },
    ],
    total: 239_320,
    stateBytes: 139_264,
  },
  dataset: { files: ['a.txt'], trainBytes: 1_003_854, bytesPerToken: 3.25, documents: null },
  metrics: rows(60),
  samples: [
    { step: 30, prompt: '', text: 'the the' },
    { step: 60, prompt: 'First\n', text: 'To be' },
  ],
};

/** Every tag of a page, with its attributes. */
function tags(page: string): { name: string; attributes: string }[] {
  return [...page.matchAll(/<\/?([^\s/>]+)([^>]*)>/g)].map(([, name, attributes]) => ({
    name: name!,
    attributes: attributes!,
  }));
}

/** The text of the elements of one tag. */
function texts(page: string, tag: string): string[] {
  const unescape = (text: string) =>
    text
      .replace(/<[^>]*>/g, '')
      .replaceAll('&lt;', '<')
      .replaceAll('&gt;', '>')
      .replaceAll('&quot;', '"')
      .replaceAll('&#39;', "'")
      .replaceAll('&amp;', '&');
  return [...page.matchAll(new RegExp(`<${tag}(?: [^>]*)?>([^]*?)</${tag}>`, 'g'))].map(([, inner]) =>
    unescape(inner!),
  );
}

describe('renderReport', () => {
  it('shows the numbers, the tables and the samples', async () => {
    const page = await renderReport(report);
    expect(texts(page, 'h1')).toEqual(['a run']);
    expect(texts(page, 'h3')).toEqual([
      'Loss',
      'Perplexity',
      'Bits per byte',
      'Learning rate',
      'Gradient norm',
      'Tokens per second',
      'step 60',
      'step 30',
    ]);
    expect(texts(page, 'pre')).toEqual(['First\nTo be', 'the the']);
    const tiles = Object.fromEntries(
      [...page.matchAll(/<b>(.*?)<\/b><span>(.*?)<\/span>/g)].map(([, value, label]) => [label, value]),
    );
    expect(tiles).toEqual({
      'best held-out loss, step 60': '2.250',
      'perplexity there': '9.49',
      'bits per byte there': '1.133',
      steps: '60',
      'tokens seen': '60.0k',
      'training time': '2m 29s',
      'tokens per second (median)': '12.0k',
      parameters: '239.3k',
    });
    const cells = texts(page, 'tr').map((row) => row.trim().split(/\s{2,}/));
    expect(cells).toContainEqual(['blocks.0', '231,000']);
    expect(cells).toContainEqual(['state of a sequence', '139.3 kB']);
    expect(cells).toContainEqual(['train bytes', '1.0 MB']);
    expect(cells).toContainEqual(['bytes per token', '3.25']);
    expect(cells).toContainEqual(['documents', '–']);
    expect(cells).toContainEqual(['model.mlstm']);
    expect(cells).toContainEqual(['blocks', 'mlstm, slstm']);
  });

  it('shows a run that measured nothing', async () => {
    const page = await renderReport({ ...report, metrics: [], samples: [], dataset: {} });
    expect(texts(page, 'p')).toEqual(
      expect.arrayContaining(['Nothing was measured yet.', 'No samples were written.', 'Nothing is known.']),
    );
    expect(page).not.toContain('<svg');
  });

  it('needs no network and runs nothing', async () => {
    const page = await renderReport(report);
    expect(page.replaceAll('http://www.w3.org/2000/svg', '')).not.toMatch(
      /https?:|\/\/\w|url\((?!#)|@import|src=|href=|<script|<link/,
    );
    expect(page).toContain(`default-src 'none'`);
    expect(tags(page).filter(({ attributes }) => /\son\w+=/.test(attributes))).toEqual([]);
  });

  it('is the same text for the same run', async () => {
    expect(await renderReport(report)).toBe(await renderReport(report));
  });

  it('uses no id twice', async () => {
    const ids = [...(await renderReport(report)).matchAll(/ id="([^"]*)"/g)].map(([, id]) => id);
    expect(ids.length).toBeGreaterThan(6);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('escapes whatever the texts contain', async () => {
    const names = (page: string) => [...new Set(tags(page).map(({ name }) => name))].toSorted();
    const plain = names(await renderReport(report));
    const nasty = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.constantFrom(
        '<script>alert(1)</script>',
        '"><img src=x onerror=alert(1)>',
        "' onload='x",
        '</pre></style>',
        '&lt;',
        ']]>',
        '<!--',
        '$& $1 $`',
      ),
    );
    await fc.assert(
      fc.asyncProperty(nasty, nasty, nasty, async (a, b, c) => {
        const page = await renderReport({
          ...report,
          title: a,
          device: b,
          config: { [a || 'x']: b, group: { [`k${b}`]: [c] } },
          model: { ...report.model, description: c, parts: [{ name: a, parameters: 1 }] },
          dataset: { [`k${c}`]: a },
          metrics: report.metrics.slice(0, 3),
          samples: [{ step: 1, prompt: b, text: `${a}\n${c}` }],
        });
        expect(names(page)).toEqual(plain.filter((name) => name !== 'details' && name !== 'summary'));
        expect(texts(page, 'pre')).toEqual([printable(`${b}${a}\n${c}`)]);
        expect(texts(page, 'h1')).toEqual([printable(a)]);
      }),
      { numRuns: 40 },
    );
  });

  it('stays small for a long run and ends the process', { timeout: 60_000 }, () => {
    const script = `
      import { renderReport } from ${JSON.stringify(new URL('../../src/train/report.ts', import.meta.url).href)};
      const metrics = Array.from({ length: 100_000 }, (_, i) => ({ step: i + 1, time: i, trainLoss: 3 + Math.sin(i * i), emaLoss: 3, gradientNorm: 1 + Math.cos(i), tokensPerSecond: 1e4 + i % 99 }));
      const page = await renderReport({ title: '', created: new Date(0), device: '', config: {}, model: { parts: [], total: 0, stateBytes: 0 }, dataset: {}, metrics, samples: [] });
      console.log(page.length);`;
    const { status, stdout } = spawnSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
      encoding: 'utf8',
      timeout: 50_000,
    });
    expect(status).toBe(0);
    expect(Number(stdout)).toBeGreaterThan(20_000);
    expect(Number(stdout)).toBeLessThan(300_000);
  });
});

describe('renderChart', () => {
  const options = { width: 560, height: 270, id: 'c', label: 'test' };
  const draw = (points: [number, number][], more: Partial<Parameters<typeof renderChart>[1]> = {}) => {
    const svg = renderChart([{ label: 'x', color: '--series-c', points }], { ...options, ...more });
    const line = [...svg.matchAll(/<path d="([^"]*)"[^>]*stroke="var\(--series-c\)"[^>]*>/g)].map(([, d]) => d!);
    expect(line).toHaveLength(1);
    return line[0]!
      .split('M')
      .slice(1)
      .map((part) => part.split('L').map((pair) => pair.trim().split(/[ ,]+/).map(Number)));
  };

  it('draws each point where its step and value put it', () => {
    const points = Array.from({ length: 40 }, (_, i): [number, number] => [i * i + 1, 5 + Math.sin(i)]);
    const [line, ...rest] = draw(points);
    expect(rest).toEqual([]);
    expect(line).toHaveLength(points.length);
    const at = (i: number) => line![i] as [number, number];
    const scaleX = (at(39)[0] - at(0)[0]) / (points[39]![0] - points[0]![0]);
    expect(scaleX * points[39]![0]).toBeGreaterThan(450); // it fills the width
    const [low, high] = [
      points.findIndex(([, v]) => v === Math.min(...points.map(([, v]) => v))),
      points.findIndex(([, v]) => v === Math.max(...points.map(([, v]) => v))),
    ];
    const scaleY = (at(high)[1] - at(low)[1]) / (points[high]![1] - points[low]![1]);
    expect(scaleY).toBeLessThan(-50); // upwards
    points.forEach(([step, value], i) => {
      expect(Math.abs(at(i)[0] - (at(0)[0] + scaleX * (step - points[0]![0])))).toBeLessThan(0.2); // coordinates have one digit
      expect(Math.abs(at(i)[1] - (at(low)[1] + scaleY * (value - points[low]![1])))).toBeLessThan(0.2);
    });
  });

  it('leaves a gap where a value is not finite', () => {
    const lines = draw([
      [1, 1],
      [2, 2],
      [3, NaN],
      [4, 3],
      [5, 1],
    ]);
    expect(lines.map((line) => line.length)).toEqual([2, 2]);
  });

  it('keeps the extremes of a long series', () => {
    const points = Array.from({ length: 50_000 }, (_, i): [number, number] => [
      i + 1,
      i === 31_234 ? 9 : i === 20_001 ? -4 : Math.sin(i),
    ]);
    const [line] = draw(points);
    expect(line!.length).toBeLessThanOrEqual(600);
    const flat = draw(
      points.map(([step], i): [number, number] => [step, i === 31_234 ? 9 : i === 20_001 ? -4 : 0]),
    )[0]!;
    const range = (list: number[][]) => [Math.min(...list.map(([, y]) => y!)), Math.max(...list.map(([, y]) => y!))];
    expect(range(line!)).toEqual(range(flat));
  });

  it('draws decades evenly on a logarithmic axis, without values that have none', () => {
    const [line] = draw(
      [
        [1, 0],
        [2, 1],
        [3, 10],
        [4, 100],
        [5, 1000],
      ],
      { logarithmic: true },
    );
    const ys = line!.map(([, y]) => y!);
    expect(ys).toHaveLength(4);
    for (let i = 2; i < 4; i++) expect(ys[i]! - ys[i - 1]!).toBeCloseTo(ys[1]! - ys[0]!, 1);
    expect(ys[1]! - ys[0]!).toBeLessThan(-20);
  });
});

describe('writeReport', () => {
  it('leaves the old page on a full disk', async () => {
    const file = path.join(temporaryFolder(), 'report.html');
    await writeReport(file, report);
    const page = fs.readFileSync(file, 'utf8');
    expect(page).toBe(await renderReport(report));
    vi.spyOn(fs, 'fsyncSync').mockImplementationOnce(() => {
      throw systemError('ENOSPC');
    });
    await expect(writeReport(file, { ...report, title: 'new' })).rejects.toThrow(
      /^cannot write the report \S+report\.html \([\d.]+ kB\): the disk is full \(ENOSPC, .*; the previous file stands$/,
    );
    expect(fs.readFileSync(file, 'utf8')).toBe(page);
    expect(fs.readdirSync(path.dirname(file))).toEqual(['report.html']);
  });
});
