/**
 * @file What the worker of the playground answers to the views Memory and Search, and how these put numbers together, without a
 * browser.
 */
import { describe, expect, it } from 'vitest';
import { LanguageModel } from '../../src/model/language-model.js';
import { ByteTokenizer } from '../../src/tokens/bytes.js';
import type { SearchEvent, SearchStep } from '../../web/src/protocol-memory.js';
import { largestReads, weightsAround } from '../../web/src/views/memory/reads.js';
import { percent, short, tokens } from '../../web/src/views/plots/numbers.js';
import { angleToKey, nearestStep } from '../../web/src/views/search/geometry.js';
import { SearchHistory } from '../../web/src/views/search/search-history.js';
import { memoryHandlers } from '../../web/src/worker/memory.js';
import { SearchPair } from '../../web/src/worker/search-pair.js';
import { testDevices } from '../support/devices.js';

const device = testDevices().at(-1)!.create();
const tokenizer = new ByteTokenizer();
const { readMemory, memoryHead, memoryMatrix } = memoryHandlers;

describe('the view Memory asks', () => {
  const config = { vocabSize: tokenizer.vocabSize, dim: 16, blocks: ['mlstm', 'slstm', 'attention'] };
  const heads = { attention: { heads: 2 }, mlstm: { heads: 2 }, slstm: { heads: 2 } };
  const context = { model: LanguageModel.create({ ...config, ...heads }, device, 1), tokenizer };
  const text = 'naïve\nidea';
  const T = 11; // ï has two bytes

  it('for a text, and gets its tokens and the half-lives of all heads', async () => {
    const { tokens: texts, leftOut, blocks } = await readMemory({ text }, context);
    expect(texts).toEqual(['n', 'a', '', 'ï', 'v', 'e', '\n', 'i', 'd', 'e', 'a']);
    expect(leftOut).toBe(0);
    expect(blocks.map(({ kind, heads: all }) => [kind, all.length])).toEqual([
      ['mlstm', 2],
      ['slstm', 2],
      ['other', 0],
    ]);
    const [first] = blocks[0]!.heads;
    expect(first!.median).toBeCloseTo(Math.LN2 / Math.log1p(Math.exp(-3)), 3); // forget gates begin at 3
    expect(first!.low).toBeLessThanOrEqual(first!.median);
  });

  it('for a head, and gets its gates and all reads', async () => {
    await readMemory({ text }, context);
    const mlstm = await memoryHead({ block: 0, head: 1 }, context);
    if (mlstm.kind !== 'mlstm') throw new Error('the first block is an mLSTM');
    expect(mlstm.reads.length).toBe(T * T);
    expect(mlstm.reads[5]).toBe(0); // the first token cannot read the sixth
    expect(mlstm.memory.length).toBe(T);
    const slstm = await memoryHead({ block: 1, head: 0 }, context);
    if (slstm.kind !== 'slstm') throw new Error('the second block is an sLSTM');
    expect([slstm.units, slstm.c.length]).toEqual([8, 8 * T]);
    const last = slstm.reads.slice((T - 1) * T);
    expect(last.reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 5);
    const { weights, top } = weightsAround(slstm, 4);
    expect(weights[2]).toBe(slstm.reads[4 * T + 2]);
    expect(weights[9]).toBe(slstm.reads[9 * T + 4]);
    expect(largestReads({ weights, top }, 0, 4, 3).map(({ weight }) => weight)[0]).toBe(
      Math.max(...weights.slice(0, 4)),
    );
  });

  it('for the matrix after a token', async () => {
    await readMemory({ text }, context);
    const { rows, columns, C, n } = await memoryMatrix({ block: 0, head: 0, token: 6 }, context);
    expect([rows, columns, C.length, n.length]).toEqual([32, 32, 1024, 32]);
    const series = await memoryHead({ block: 0, head: 0 }, context);
    expect(Math.hypot(...C)).toBeCloseTo(series.kind === 'mlstm' ? series.memory[6]! : NaN, 5);
  });

  it('what cannot be, and is told so in a sentence', async () => {
    await readMemory({ text }, context);
    await expect(readMemory({ text: '' }, context)).rejects.toThrow('write a text first');
    await expect(readMemory({ text }, { model: null, tokenizer: null })).rejects.toThrow('There is no model yet');
    await expect(memoryHead({ block: 2, head: 0 }, context)).rejects.toThrow('attention has no gates');
    await expect(memoryHead({ block: 0, head: 7 }, context)).rejects.toThrow('There is no number 8, only 2');
    await expect(memoryMatrix({ block: 1, head: 0, token: 0 }, context)).rejects.toThrow('no matrix');
    const { tokens: read, leftOut } = await readMemory({ text: 'a'.repeat(500) }, context);
    expect([read.length, leftOut]).toEqual([400, 100]);
  });
});

describe('the view Search', () => {
  const settings = { maxLength: 6, dim: 16, learningRate: 1e-2, seed: 1 };

  it('sees both models learn, step by step, stop and go on', async () => {
    const pair = new SearchPair(device, settings);
    const steps: SearchStep[] = [];
    const ended: (string | null)[] = [];
    const train = (until: number): Promise<void> =>
      new Promise((resolve) => {
        pair.start((event: SearchEvent) => {
          if (event.kind === 'searchSteps') steps.push(...event.steps);
          if (event.kind === 'searchEnded') ended.push(event.problem);
          if (event.kind === 'searchEnded') resolve();
          else if (steps.length >= until) void pair.stop();
        });
      });
    await train(30);
    await train(200);
    expect(ended).toEqual([null, null]);
    expect(steps.map(({ step }) => step)).toEqual(steps.map((_, k) => k + 1));
    for (const kind of ['lstm', 'slstm'] as const) {
      const mean = (part: readonly SearchStep[]) =>
        part.reduce((sum, { losses }) => sum + losses[kind], 0) / part.length;
      expect(mean(steps.slice(-40)), kind).toBeLessThan(0.8 * mean(steps.slice(0, 10)));
    }

    const drawn = await pair.draw(3);
    expect((await pair.draw(3)).vectors).toEqual(drawn.vectors);
    expect(drawn.closer[0]).toBe(false);
    expect(drawn.closer[1]).toBe(true);
    for (let t = 1; t < drawn.steps; t++) {
      const nearest = nearestStep(drawn, t);
      expect(drawn.right[t]).toBe(drawn.vectors[3 * nearest + 2]);
      for (let s = 1; s <= t; s++) expect(angleToKey(drawn, s)).toBeGreaterThanOrEqual(angleToKey(drawn, nearest));
    }
    for (const answers of Object.values(drawn.answers)) expect([...answers].every(Number.isFinite)).toBe(true);
    const { bytes } = device.memory;
    await pair.draw(4);
    expect(device.memory.bytes).toBe(bytes);
    pair.dispose();
  });

  it('draws many steps together into few points', () => {
    const history = new SearchHistory();
    const steps = Array.from({ length: 1001 }, (_, k) => ({ step: k + 1, losses: { lstm: k + 1, slstm: 1 } }));
    history.add(steps);
    expect(history.steps).toBe(1001);
    expect(history.x.length).toBeLessThan(240);
    expect(history.x.length).toBeGreaterThanOrEqual(120);
    expect(history.losses.lstm).toEqual(history.x); // means of steps and of losses that are the same
  });
});

it('numbers are short', () => {
  expect([0, 0.25, -1.2345, 12.345, 1234.5, 2e6, 1e-5].map(short)).toEqual([
    '0',
    '0.25',
    '−1.23',
    '12.3',
    '1235',
    '2.0e+6',
    '1.0e−5',
  ]);
  expect([1, 0.41, 14.2, 2300, Infinity].map(tokens)).toEqual([
    '1 token',
    '0.41 tokens',
    '14 tokens',
    '2,300 tokens',
    'for ever',
  ]);
  expect([0.5, 0.034].map(percent)).toEqual(['50 %', '3.4 %']);
});
