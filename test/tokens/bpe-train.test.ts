import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type BpeProgress, trainBpe } from '../../src/tokens/bpe-train.js';
import { PairMerger } from '../../src/tokens/pair-merger.js';
import { WordCount } from '../../src/tokens/word-count.js';
import { anyText } from './texts.js';
import { sotuTexts } from '../support/sotu.js';

type Merge = [left: number, right: number, id: number];

/** Training by the definition: count every pair of the whole text anew for each merge. */
function trainSlowly(words: readonly [string, number][], tokens: number, minFrequency: number): Merge[] {
  const texts = words.map(([word, weight]) => ({ symbols: [...new TextEncoder().encode(word)], weight }));
  const bytesOf = Array.from({ length: 256 }, (_, byte) => String(byte));
  const merges: Merge[] = [];
  while (bytesOf.length < 256 + tokens) {
    const counts = new Map<string, { pair: [number, number]; count: number }>();
    for (const { symbols, weight } of texts) {
      for (let k = 0; k + 1 < symbols.length; k++) {
        const pair: [number, number] = [symbols[k]!, symbols[k + 1]!];
        const entry = counts.get(pair.join()) ?? { pair, count: 0 };
        entry.count += weight;
        counts.set(pair.join(), entry);
      }
    }
    const order = [...counts.values()].sort(
      (a, b) => b.count - a.count || a.pair[0] - b.pair[0] || a.pair[1] - b.pair[1],
    );
    if (order.length === 0 || order[0]!.count < minFrequency) break;
    const [left, right] = order[0]!.pair;
    const bytes = `${bytesOf[left]},${bytesOf[right]}`;
    // No text is ever reached in two ways: that is what the fast trainer relies on.
    expect(bytesOf).not.toContain(bytes);
    const id = bytesOf.push(bytes) - 1;
    merges.push([left, right, id]);
    for (const text of texts) text.symbols = mergeLeftToRight(text.symbols, merges.at(-1)!);
  }
  return merges;
}

function mergeLeftToRight(symbols: readonly number[], [left, right, id]: Merge): number[] {
  const out: number[] = [];
  for (let k = 0; k < symbols.length; k++) {
    if (symbols[k] === left && symbols[k + 1] === right) {
      out.push(id);
      k++;
    } else out.push(symbols[k]!);
  }
  return out;
}

function trainFast(words: readonly [string, number][], tokens: number, minFrequency: number): Merge[] {
  const merges: Merge[] = [];
  const trainer = new PairMerger(words);
  const idOf = (left: number, right: number): number => {
    merges.push([left, right, 256 + merges.length]);
    return 255 + merges.length;
  };
  while (merges.length < tokens && trainer.mergeTop(minFrequency, idOf));
  return merges;
}

describe('training', () => {
  test('merges are those of counting everything anew each time', () => {
    const word = fc.string({ unit: fc.constantFrom('a', 'a', 'a', 'b', 'c'), minLength: 1, maxLength: 30 });
    const words = fc.uniqueArray(fc.tuple(word, fc.integer({ min: 1, max: 4 })), {
      minLength: 1,
      maxLength: 12,
      selector: ([w]) => w,
    });
    fc.assert(
      fc.property(words, fc.integer({ min: 1, max: 3 }), (list, minFrequency) => {
        expect(trainFast(list, 40, minFrequency)).toEqual(trainSlowly(list, 40, minFrequency));
      }),
      { numRuns: 300 },
    );
  });

  test('the first merges of "low lower lowest" by hand', async () => {
    // Words " lower" and " lowest" once, "low" once: l o, lo w, " low", then " lowe" are met 3, 3, 2, 2 times.
    const bpe = await trainBpe('low lower lowest', { vocabSize: 261, specialTokens: [] });
    expect([...bpe.encode('low')].map((id) => bpe.decode([id]))).toEqual(['low']);
    expect([...bpe.encode(' lowest')].map((id) => bpe.decode([id]))).toEqual([' lowe', 's', 't']);
    expect(bpe.vocabSize).toBe(260);
  });

  test('depends on the words, not on how the text comes in pieces', async () => {
    const text = sotuTexts(3).join('\n').slice(0, 60_000);
    const whole = await trainBpe(text, { vocabSize: 500 });
    const pieces = await trainBpe(text.split(/(?= \S)/), { vocabSize: 500 });
    expect(pieces.fingerprint()).toBe(whole.fingerprint());
    const one = new WordCount();
    one.add("it's 12  o'clock");
    expect([...one.entries()].map(([word]) => word)).toEqual(
      ['it', "'s", ' 12', ' o', "'", 'clock'].filter((w) => w.length > 1),
    );
  });

  test('a text with fewer pairs than asked for gives a smaller vocabulary', async () => {
    const bpe = await trainBpe('ab ab', { vocabSize: 4096 });
    expect(bpe.vocabSize).toBe(256 + 1 + 1);
    expect(bpe.eosId).toBe(257);
    expect(bpe.decode(bpe.encode('ab ab'))).toBe('ab ab');
  });

  test('no merge makes the text of a special token', async () => {
    const bpe = await trainBpe(' x ab ab ab abc abc', { vocabSize: 300, specialTokens: ['<|endoftext|>', ' ab'] });
    const ids = bpe.encode(' abc ab', { parseSpecial: false });
    expect([...ids].map((id) => bpe.decode([id]))).not.toContain(' ab');
    expect(bpe.decode(ids)).toBe(' abc ab');
    expect([...bpe.encode(' ab<|endoftext|>')]).toEqual([bpe.vocabSize - 1, bpe.vocabSize - 2]);
  });

  test('tells how far it is', async () => {
    const seen: BpeProgress[] = [];
    await trainBpe(sotuTexts(2), { vocabSize: 600, onProgress: (progress) => seen.push(progress) });
    expect(seen[0]).toMatchObject({ phase: 'count', total: null });
    expect(seen.at(-1)).toEqual({ phase: 'merge', done: 343, total: 343 });
    const done = seen.filter((progress) => progress.phase === 'merge').map((progress) => progress.done);
    expect(done).toEqual([...done].sort((a, b) => a - b));
  });

  test('wrong sizes and no text are refused', async () => {
    await expect(trainBpe('abc', { vocabSize: 256 })).rejects.toThrow(
      'at least 257 (256 bytes and 1 special tokens), got 256',
    );
    await expect(trainBpe('abc', { vocabSize: 300.5 })).rejects.toThrow('got 300.5');
    for (const specialTokens of [['a'], [''], ['<x>', '<x>']]) {
      await expect(trainBpe('abc', { vocabSize: 300, specialTokens })).rejects.toThrow(
        'must be different and longer than a byte',
      );
    }
    await expect(trainBpe([], { vocabSize: 300 })).rejects.toThrow('trainBpe: the text is empty');
  });

  test('a megabyte without a space does not cost more than text', async () => {
    const runs = [
      'a'.repeat(1_000_000),
      Array.from({ length: 300_000 }, (_, k) => String.fromCharCode(97 + ((k * k) % 26))).join(''),
    ];
    const started = performance.now();
    const bpe = await trainBpe(runs, { vocabSize: 400 });
    const trained = performance.now();
    for (const run of runs) expect(bpe.decode(bpe.encode(run))).toBe(run);
    console.log(
      `long runs: trained in ${(trained - started).toFixed(0)} ms, encoded in ${(performance.now() - trained).toFixed(0)} ms`,
    );
  });

  test('round trip of any text', async () => {
    const bpe = await trainBpe(sotuTexts(4), { vocabSize: 1000 });
    fc.assert(
      fc.property(anyText, (text) => {
        expect(bpe.decode(bpe.encode(text))).toBe(text);
      }),
    );
  });

  test('speed on the State of the Union addresses', async () => {
    const texts = sotuTexts();
    const megabytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0) / 1e6;
    const started = performance.now();
    const bpe = await trainBpe(texts, { vocabSize: 4096 });
    const trained = performance.now();
    const tokens = texts.reduce((sum, text) => sum + bpe.encode(text).length, 0);
    const encoded = performance.now();
    console.log(
      `BPE 4096 on ${megabytes.toFixed(1)} MB: trained in ${((trained - started) / 1000).toFixed(2)} s, ` +
        `encoded at ${((megabytes / (encoded - trained)) * 1000).toFixed(0)} MB/s, ${((megabytes * 1e6) / tokens).toFixed(2)} bytes per token`,
    );
    expect(bpe.vocabSize).toBe(4096);
    expect(tokens).toBeLessThan((megabytes * 1e6) / 4);
  });
});
