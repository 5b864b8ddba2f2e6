/** @file Streams of text: stop strings against a plain definition, whatever the tokens; characters whole; nothing lost. */
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { StopStrings } from '../../src/generate/stop-strings.js';
import { TextStream, type TextStreamOptions } from '../../src/generate/text-stream.js';
import { trainBpe } from '../../src/tokens/bpe-train.js';
import { ByteTokenizer } from '../../src/tokens/bytes.js';
import { charTokenizer } from '../../src/tokens/chars.js';
import type { Tokenizer } from '../../src/tokens/tokenizer.js';
import { sotuTexts } from '../support/sotu.js';
import { anyText, decodeAsStream } from '../tokens/texts.js';
import { sentencePieceTokenizer } from './sentencepiece.js';

/** By definition: walk unit by unit; where a stop string is complete the text ends before the longest that is. */
function cutAtFirstStop(text: string, stop: readonly string[]): { text: string; stopped: boolean } {
  for (let end = 1; end <= text.length; end++) {
    const complete = stop.filter((s) => text.slice(0, end).endsWith(s)).map((s) => s.length);
    if (complete.length > 0) return { text: text.slice(0, end - Math.max(...complete)), stopped: true };
  }
  return { text, stopped: false };
}

function stream(tokenizer: Tokenizer, ids: ArrayLike<number>, options: TextStreamOptions = {}) {
  const out = new TextStream(tokenizer, options);
  const pieces: string[] = [];
  for (let k = 0; k < ids.length && !out.stopped; k++) pieces.push(out.push(ids[k]!).text);
  pieces.push(out.end());
  return { pieces, text: pieces.join(''), stopped: out.stopped };
}

/** A text and stop strings, of which some are in it: few letters, so that they overlap with themselves and each other. */
const textWithStops = fc
  .tuple(
    fc.oneof(anyText, fc.string({ unit: fc.constantFrom('a', 'b', '\n', '🙂', '🙃', ' '), maxLength: 40 })),
    fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 6 })), { maxLength: 3 }),
    fc.array(fc.string({ unit: fc.constantFrom('a', 'b', '\n', '🙂'), minLength: 1, maxLength: 4 }), { maxLength: 2 }),
  )
  .map(([raw, cuts, others]) => {
    const text = raw.toWellFormed();
    const inside = cuts.map(([at, length]) => text.slice(at % (text.length + 1)).slice(0, length));
    return { text, stop: [...inside, ...others].filter((s) => s !== '' && s.isWellFormed()) };
  });

describe('stop strings', () => {
  it('text cut anywhere: what comes out is the text up to the first stop, and never more on the way', () => {
    fc.assert(
      fc.property(textWithStops, fc.infiniteStream(fc.integer({ min: 1, max: 5 })), ({ text, stop }, lengths) => {
        const expected = cutAtFirstStop(text, stop);
        const stops = new StopStrings(stop);
        let out = '';
        let stopped = false;
        const characters = [...text];
        while (characters.length > 0 && !stopped) {
          const piece = characters.splice(0, lengths.next().value).join('');
          const result = stops.push(piece);
          out += result.text;
          ({ stopped } = result);
          expect(expected.text.startsWith(out)).toBe(true);
        }
        if (!stopped) out += stops.rest();
        expect({ text: out, stopped }).toEqual(expected);
      }),
      { numRuns: 2000 },
    );
  });

  it('waits no longer than it must', () => {
    const stops = new StopStrings(['\n\n', 'END.']);
    const given = ['one\n', 'two', ' EN', 'x\n', '\nthree'].map((piece) => stops.push(piece));
    expect(given.map(({ text }) => text)).toEqual(['one', '\ntwo', ' ', 'ENx', '']);
    expect(given.map(({ stopped }) => stopped)).toEqual([false, false, false, false, true]);
  });

  it.each([
    ['overlaps itself', 'xaabaabaac', ['aabaac'], 'xaab'],
    ['complete first wins', 'abcdef', ['abcdef', 'cd'], 'ab'],
    ['of those that end together the longest', 'xabc', ['bc', 'abc', 'c'], 'x'],
    ['the whole text', 'stop', ['stop'], ''],
    ['almost', 'sto', ['stop'], 'sto'],
  ])('%s', (_name, text, stop, expected) => {
    const ids = new ByteTokenizer().encode(text);
    expect(stream(new ByteTokenizer(), ids, { stop }).text).toBe(expected);
  });

  it('what cannot be one is refused', () => {
    expect(() => new StopStrings([''])).toThrow('must not be empty');
    expect(() => new StopStrings(['a\ud83d'])).toThrow('half of a surrogate pair');
  });
});

describe('every tokenizer', () => {
  const sentencePiece = sentencePieceTokenizer();

  test('bytes, characters, BPE, SentencePiece: the text cut at the first stop', async () => {
    const bpe = await trainBpe(sotuTexts(5), { vocabSize: 600 });
    await fc.assert(
      fc.asyncProperty(textWithStops, async ({ text, stop }) => {
        const expected = cutAtFirstStop(text, stop);
        const characters = text === '' ? [] : [await charTokenizer(text)];
        for (const tokenizer of [new ByteTokenizer(), bpe, ...characters]) {
          const ids = tokenizer.encode(text, { parseSpecial: false });
          const { text: seen, stopped } = stream(tokenizer, ids, { stop });
          expect({ text: seen, stopped }).toEqual(expected);
        }
        const ids = sentencePiece.encode(text);
        const { text: seen, stopped } = stream(sentencePiece, ids, { stop });
        const decoded = decodeAsStream(sentencePiece, ids, { skipSpecial: true });
        expect({ text: seen, stopped }).toEqual(cutAtFirstStop(decoded, stop));
      }),
      { numRuns: 300 },
    );
  });

  it('an emoji of four byte tokens comes whole, and half of one as U+FFFD at the end', () => {
    const bytes = new ByteTokenizer();
    expect(stream(bytes, bytes.encode('a🙂b')).pieces).toEqual(['a', '', '', '', '🙂', 'b', '']);
    expect(stream(bytes, bytes.encode('a🙂').subarray(0, 3)).pieces).toEqual(['a', '', '', '\ufffd']);
    expect(stream(sentencePiece, sentencePiece.encode('a🙂b')).pieces).toEqual(['a', '', '', '', '🙂', 'b', '']);
  });

  it('a continuation keeps the space that a text of its own would lose', () => {
    const all = sentencePiece.encode('the end the', { addSpecial: true });
    expect(sentencePiece.decode(all, { skipSpecial: true })).toBe('the end the');
    const fresh = all.subarray(-1);
    expect(stream(sentencePiece, fresh).text).toBe('the');
    expect(stream(sentencePiece, fresh, { prompt: all.subarray(0, -1) }).text).toBe(' the');
    // At the beginning of a document there is nothing to continue.
    expect(stream(sentencePiece, fresh, { prompt: [1] }).text).toBe('the');
  });

  it('a character that the prompt began is completed', () => {
    const bytes = new ByteTokenizer();
    const ids = bytes.encode('x🙂y');
    expect(stream(bytes, ids.subarray(3), { prompt: ids.subarray(0, 3) }).text).toBe('🙂y');
  });
});

describe('stop tokens', () => {
  const bytes = new ByteTokenizer();
  it('end the stream without their text; what was held back comes out', () => {
    const ids = [...bytes.encode('so EN'), 256, ...bytes.encode('D')];
    const { text, stopped } = stream(bytes, ids, { stop: ['END'], stopTokens: [256] });
    expect([text, stopped]).toEqual(['so EN', true]);
    expect(stream(bytes, bytes.encode('a.b'), { stopTokens: [46] }).text).toBe('a');
  });

  it('special tokens are left out, or shown when asked for', () => {
    const ids = [65, 256, 66];
    expect(stream(bytes, ids).text).toBe('AB');
    expect(stream(bytes, ids, { skipSpecial: false }).text).toBe('A<|endoftext|>B');
  });
});

it('after a stop nothing more comes; after the end a push is an error', () => {
  const bytes = new ByteTokenizer();
  const out = new TextStream(bytes, { stop: ['b'] });
  expect([out.push(97), out.push(98), out.push(99), out.end()]).toEqual([
    { text: 'a', stopped: false },
    { text: '', stopped: true },
    { text: '', stopped: true },
    '',
  ]);
  const ended = new TextStream(bytes);
  ended.end();
  expect(() => ended.push(97)).toThrow('push after end');
});
