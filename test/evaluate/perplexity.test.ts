/** @file Perplexity against the obvious computation: one token after the other by `step`, window after window. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { EncodedPiece } from '../../src/data/encode-files.js';
import type { Device } from '../../src/device/device.js';
import { perplexityByLength } from '../../src/evaluate/context-length.js';
import { domainScores } from '../../src/evaluate/domains.js';
import { windowPerplexity, wholePerplexity } from '../../src/evaluate/perplexity.js';
import { scoreOf } from '../../src/evaluate/score.js';
import type { TokenText } from '../../src/evaluate/token-text.js';
import { LanguageModel } from '../../src/model/language-model.js';
import { randomKey, uniform } from '../../src/tensor/random.js';
import { scope } from '../../src/tensor/scope.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { testDevices } from '../support/devices.js';

const V = 23;
const config = { vocabSize: V, dim: 16, blocks: ['mlstm', 'slstm'], mlstm: { heads: 2 }, slstm: { heads: 2 } };
const BYTES_PER_TOKEN = 3;

/** Documents of these lengths, each cut into pieces of at most `pieceLength` tokens. */
function textOf(
  lengths: readonly number[],
  begin: number | null,
  pieceLength = 7,
): TokenText & { documents: number[][] } {
  const documents = lengths.map((length, k) => Array.from(uniform(randomKey(k), length, 0, V), Math.floor));
  async function* pieces(): AsyncGenerator<EncodedPiece> {
    for (const [k, document] of documents.entries()) {
      for (let from = 0; from < document.length; from += pieceLength) {
        const tokens = Int32Array.from(document.slice(from, from + pieceLength));
        yield { tokens, bytes: BYTES_PER_TOKEN * tokens.length, start: from === 0, source: `document ${k}` };
      }
    }
  }
  return { pieces, begin, documents };
}

/** The document as the model reads it, with what begins it. */
const sequences = ({ documents, begin }: ReturnType<typeof textOf>): number[][] =>
  documents.map((document) => (begin === null ? document : [begin, ...document]));

/** -log p of each token of a sequence but the first, by the step form from the initial state. */
async function stepLosses(model: LanguageModel, sequence: readonly number[]): Promise<number[]> {
  const { device } = model;
  const losses: number[] = [];
  let state = model.initialState(1);
  for (let t = 0; t + 1 < sequence.length; t++) {
    const result = scope(device, {}, () => model.step(Tensor.from(device, Int32Array.of(sequence[t]!), [1]), state));
    state.dispose();
    state = result.state;
    const logits = await result.logits.data();
    result.logits.dispose();
    const top = Math.max(...logits);
    const logSum = top + Math.log([...logits].reduce((sum, logit) => sum + Math.exp(logit - top), 0));
    losses.push(logSum - logits[sequence[t + 1]!]!);
  }
  state.dispose();
  return losses;
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The loop of "Perplexity of fixed-length models" (transformers), for one document. */
async function windowLosses(
  model: LanguageModel,
  sequence: number[],
  window: number,
  stride: number,
): Promise<number[]> {
  const scored: number[] = [];
  let previous = 0;
  for (let begin = 0; begin < sequence.length; begin += stride) {
    const end = Math.min(begin + window, sequence.length);
    const losses = await stepLosses(model, sequence.slice(begin, end));
    const fresh = end - previous;
    scored.push(...losses.slice(Math.max(0, losses.length - fresh)));
    previous = end;
    if (end === sequence.length) break;
  }
  return scored;
}

describe.each(testDevices())('on $name', ({ create }) => {
  const device: Device = create();
  device.poison = true;
  /** Digits after the point; seen: differences of 9e-16 and 1e-7. */
  const digits = device.precision === 'float64' ? 11 : 5;

  it('in one pass: the mean over all tokens of all documents, each from everything before it', async () => {
    using model = LanguageModel.create(config, device, 1);
    const held = device.memory.bytes;
    for (const begin of [0, null]) {
      for (const pieceLength of [1, 7, 100]) {
        const text = textOf([20, 1, 33], begin, pieceLength);
        const expected: number[] = [];
        for (const sequence of sequences(text)) expected.push(...(await stepLosses(model, sequence)));
        const score = await wholePerplexity(model, text);
        expect(score).toMatchObject({ documents: 3, tokens: 54, bytes: 54 * 3, predicted: begin === null ? 51 : 54 });
        expect(score.predicted).toBe(expected.length);
        expect(score.loss).toBeCloseTo(mean(expected), digits);
        expect(score.perplexity).toBeCloseTo(Math.exp(mean(expected)), digits - 2);
        expect(score.bitsPerByte).toBeCloseTo(mean(expected) / Math.log(2) / BYTES_PER_TOKEN, digits);
      }
    }
    expect(device.memory.bytes).toBe(held);
  });

  it.skipIf(device.name === 'reference')('in one pass over more than a stretch', async () => {
    using model = LanguageModel.create(config, device, 1);
    const text = textOf([1500], 0, 1300);
    const [sequence] = sequences(text);
    expect((await wholePerplexity(model, text)).loss).toBeCloseTo(mean(await stepLosses(model, sequence!)), digits);
  });

  it('in sliding windows: what the loop of the transformers documentation gives', async () => {
    using model = LanguageModel.create(config, device, 1);
    const held = device.memory.bytes;
    const lengths = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 3 });
    const windows = fc
      .integer({ min: 2, max: 12 })
      .chain((window) => fc.tuple(fc.constant(window), fc.integer({ min: 1, max: window })));
    await fc.assert(
      fc.asyncProperty(lengths, windows, fc.constantFrom(0, null), async (sizes, [window, stride], begin) => {
        const text = textOf(sizes, begin);
        const expected: number[] = [];
        for (const sequence of sequences(text)) expected.push(...(await windowLosses(model, sequence, window, stride)));
        fc.pre(expected.length > 0);
        const score = await windowPerplexity(model, text, { window, stride });
        expect(score.predicted).toBe(expected.length);
        expect(score.loss).toBeCloseTo(mean(expected), digits);
      }),
      { numRuns: device.name === 'cpu' ? 25 : 10 },
    );
    expect(device.memory.bytes).toBe(held);
  });

  it('by context length: the same tokens at each length, each with at most that much context', async () => {
    using model = LanguageModel.create(config, device, 1);
    const text = textOf([9, 25, 12, 13], 0); // of 10, 26, 13 and 14 tokens with what begins them
    const { lengths, positions } = await perplexityByLength(model, text, [12, 4, 5, 4]);
    expect(lengths.map(({ length }) => length)).toEqual([4, 5, 12]);
    const blocks = sequences(text).flatMap((sequence) => {
      const count = Math.floor((sequence.length - 1) / 12);
      return Array.from({ length: count }, (_, k) => sequence.slice(12 * k, 12 * k + 13));
    });
    expect(blocks.length).toBe(4);
    for (const { length, loss, predicted } of lengths) {
      const expected: number[] = [];
      for (const block of blocks) {
        for (let from = 0; from < 12; from += length) {
          expected.push(...(await stepLosses(model, block.slice(from, Math.min(from + length, 12) + 1))));
        }
      }
      expect(predicted).toBe(48);
      expect(loss).toBeCloseTo(mean(expected), digits);
    }
    expect(positions.map(({ from, to }) => [from, to])).toEqual([
      [1, 1],
      [2, 2],
      [3, 3],
      [4, 4],
      [5, 6],
      [7, 8],
      [9, 11],
      [12, 12],
    ]);
    const byBlock = await Promise.all(blocks.map((block) => stepLosses(model, block)));
    for (const { from, to, loss, predicted } of positions) {
      const expected = byBlock.flatMap((losses) => losses.slice(from - 1, to));
      expect(predicted).toBe(expected.length);
      expect(loss).toBeCloseTo(mean(expected), digits);
    }
  });

  it('a model that knows nothing: log V, in every way', async () => {
    using model = LanguageModel.create(config, device, 1);
    device.kernels.fill(model.parameters.values, 0, model.parameters.length);
    const text = textOf([40], 0);
    const whole = await wholePerplexity(model, text);
    expect(whole.loss).toBeCloseTo(Math.log(V), 6);
    expect(whole.perplexity).toBeCloseTo(V, 4);
    expect(whole.bitsPerByte).toBeCloseTo(Math.log2(V) / BYTES_PER_TOKEN, 6);
    expect((await windowPerplexity(model, text, { window: 8, stride: 4 })).perplexity).toBeCloseTo(V, 4);
    const { lengths, positions } = await perplexityByLength(model, text, [4, 16]);
    for (const { perplexity } of [...lengths, ...positions]) expect(perplexity).toBeCloseTo(V, 4);
  });

  it('stops when asked, says how far it is, and leaves no memory behind', async () => {
    using model = LanguageModel.create(config, device, 1);
    const held = device.memory.bytes;
    const text = textOf([30, 30], 0);
    let bytes = 0;
    let tokens = 0;
    await wholePerplexity(model, text, {
      onProgress: (some) => {
        bytes += some.bytes;
        tokens += some.tokens;
      },
    });
    expect(bytes).toBeCloseTo(60 * BYTES_PER_TOKEN, 6);
    expect(tokens).toBe(60);
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(wholePerplexity(model, text, { signal })).rejects.toThrow('enough');
    await expect(windowPerplexity(model, text, { window: 8, stride: 4, signal })).rejects.toThrow('enough');
    await expect(perplexityByLength(model, text, [8], { signal })).rejects.toThrow('enough');
    expect(device.memory.bytes).toBe(held);
  });
});

it('refuses what cannot be computed', async () => {
  using model = LanguageModel.create(config, testDevices().at(-1)!.create(), 1);
  const text = textOf([9], null);
  await expect(wholePerplexity(model, textOf([1], null))).rejects.toThrow('of 1 tokens none could be predicted');
  const windows = (window: number, stride: number) => windowPerplexity(model, text, { window, stride });
  await expect(windows(1, 1)).rejects.toThrow('the window must be a whole number from 2, got 1');
  await expect(windows(4, 5)).rejects.toThrow('the stride must be a whole number from 1 to the window of 4, got 5');
  await expect(perplexityByLength(model, text, [4, 9])).rejects.toThrow(
    'the longest document has 9 tokens, too few for the length of 9',
  );
  await expect(perplexityByLength(model, text, [0])).rejects.toThrow('whole numbers from 1, got 0');
});

it('domains: the macro average weighs domains, the micro average tokens', async () => {
  const score = (nats: number, predicted: number, bytes: number) =>
    scoreOf({ documents: 1, tokens: predicted, bytes, predicted, nats });
  const scores = { a: score(10, 10, 20), b: score(270, 90, 100) };
  const found = await domainScores(
    [
      { name: 'a', files: [] },
      { name: 'b', files: [] },
    ],
    ({ name }) => Promise.resolve(scores[name as 'a' | 'b']),
  );
  expect(found.macro.loss).toBeCloseTo((1 + 3) / 2, 12);
  expect(found.macro.perplexity).toBeCloseTo(Math.exp(2), 12);
  expect(found.macro.bitsPerByte).toBeCloseTo((10 / 20 + 270 / 100) / 2 / Math.LN2, 12);
  expect(found.micro.loss).toBeCloseTo(280 / 100, 12);
  expect(found.micro.bitsPerByte).toBeCloseTo(280 / 120 / Math.LN2, 12);
  expect(found.domains.map(({ name, loss }) => [name, loss])).toEqual([
    ['a', 1],
    ['b', 3],
  ]);
});
