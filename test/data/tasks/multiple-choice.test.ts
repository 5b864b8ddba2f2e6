/** @file Zero-shot tasks: lines as they are published, and the scoring rules on probabilities that are given. */
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { readHellaswag, readLambada, scoreChoices, scoreLastWords } from '../../../src/data/tasks/multiple-choice.js';
import { temporaryFolder } from '../../support/folders.js';

function fileOf(...records: unknown[]): string {
  const file = path.join(temporaryFolder(), 'records.jsonl');
  fs.writeFileSync(
    file,
    records.map((record) => (typeof record === 'string' ? record : JSON.stringify(record))).join('\n'),
  );
  return file;
}

describe('LAMBADA', () => {
  it('parts the last word from the text', () => {
    const file = fileOf({ text: 'he shook his head , took a step back .' }, '', { text: ' "No," said  Ann\n' });
    expect(readLambada(file)).toEqual([
      { context: 'he shook his head , took a step back', word: ' .' },
      { context: '"No," said ', word: ' Ann' },
    ]);
  });

  it('names a line that is not a text', () => {
    expect(() => readLambada(fileOf({ text: 'a b' }, '{"text": '))).toThrow(/records.jsonl:2 is not JSON/);
    expect(() => readLambada(fileOf({ text: 'a b' }, '', { txt: 'a b' }))).toThrow(/records.jsonl:3: text: /);
    expect(() => readLambada(fileOf({ text: 'word' }))).toThrow('records.jsonl:1 has no word before the last one');
    expect(() => readLambada(fileOf())).toThrow('has no records');
  });

  it('counts words of which each token is first, and takes the perplexity of whole words', async () => {
    const items = ['a', 'b', 'c', 'd'].map((context) => ({ context, word: ` ${context}` }));
    const sums: Record<string, number> = { a: -1, b: -2, c: -4, d: -5 };
    const done: number[] = [];
    const scorer = (context: string, word: string) => {
      expect(word).toBe(` ${context}`);
      return { sum: sums[context]!, greedy: context === 'c' };
    };
    const score = await scoreLastWords(items, scorer, { onItem: (n) => void done.push(n) });
    expect(score).toEqual({
      items: 4,
      accuracy: 0.25,
      // Of 1 0 0 0: the deviation with n - 1 in it over the root of n.
      standardError: 0.25,
      loss: 3,
      perplexity: Math.exp(3),
    });
    expect(done).toEqual([1, 2, 3, 4]);
  });
});

describe('HellaSwag', () => {
  it('joins activity and context, and takes out what is left of markup', () => {
    const file = fileOf(
      {
        activity_label: 'Roof shingle removal',
        ctx_a: 'A man is sitting on a roof.',
        ctx_b: 'he Then',
        ctx: 'not used',
        endings: ['is ripping.', ' holds [substeps] tiles ', 'c [title] d', 'e  f'],
        label: 3,
      },
      { ctx: 'Plain context', endings: ['x', 'y'], label: '1' },
    );
    expect(readHellaswag(file)).toEqual([
      {
        context: 'Roof shingle removal: A man is sitting on a roof. He then',
        choices: ['is ripping.', 'holds tiles', 'c. d', 'e f'],
        answer: 3,
      },
      { context: 'Plain context', choices: ['x', 'y'], answer: 1 },
    ]);
  });

  it('names a line that does not fit', () => {
    const line = { ctx: 'a', endings: ['x', 'y'], label: 1 };
    expect(() => readHellaswag(fileOf(line, { ...line, label: 2 }))).toThrow('label 2 is not one of 2 endings');
    expect(() => readHellaswag(fileOf({ ...line, label: '' }))).toThrow(/records.jsonl:1: label/);
    expect(() => readHellaswag(fileOf({ ...line, endings: ['x'] }))).toThrow(/endings/);
    expect(() => readHellaswag(fileOf({ endings: ['x', 'y'], label: 0 }))).toThrow('there is no ctx and no ctx_a');
  });

  it('chooses by the sum, and by the sum per byte of the ending without its space', async () => {
    const items = [
      // By the sum the first, per byte the second: -6 / 6 against -3 / 2; é has two bytes.
      { context: 'p', choices: ['é', 'éabcd'], answer: 1 },
      { context: 'q', choices: ['same', 'same'], answer: 0 },
      { context: 'r', choices: ['a', 'b'], answer: 0 },
    ];
    const sums: Record<string, number> = { 'p é': -3, 'p éabcd': -6, 'q same': -1, 'r a': -2, 'r b': -1 };
    const score = await scoreChoices(items, async (context, choice) => ({
      sum: sums[context + choice]!,
      greedy: false,
    }));
    expect(score.items).toBe(3);
    expect(score.sum.accuracy).toBeCloseTo(1 / 3, 12);
    expect(score.perByte.accuracy).toBeCloseTo(2 / 3, 12);
    expect(score.sum.standardError).toBeCloseTo(Math.sqrt(2) / 3 / Math.sqrt(2), 12);
  });

  it('ends when asked', async () => {
    const stop = new AbortController();
    const items = [{ context: 'a', choices: ['x', 'y'], answer: 0 }];
    const scorer = () => {
      stop.abort(new Error('enough'));
      return { sum: 0, greedy: true };
    };
    await expect(scoreChoices(items, scorer, { signal: stop.signal })).rejects.toThrow('enough');
  });
});
