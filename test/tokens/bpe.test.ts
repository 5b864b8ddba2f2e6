import { readFileSync } from 'node:fs';
import { Tokenizer as Library } from '@huggingface/tokenizers';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BpeTokenizer } from '../../src/tokens/bpe.js';
import { MergeRules, mergeWord } from '../../src/tokens/bpe-merge.js';
import { trainBpe } from '../../src/tokens/bpe-train.js';
import { HfTokenizer } from '../../src/tokens/hf-tokenizer.js';
import { tokenizerFromJson } from '../../src/tokens/any-kind.js';
import { loadTokenizer } from '../../src/tokens/load.js';
import { saveTokenizer } from '../../src/tokens/tokenizer-files.js';
import { parseTokenizerJson, type TokenizerJson } from '../../src/tokens/tokenizer-json.js';
import { wordEnd } from '../../src/tokens/pretokenize.js';
import { temporaryFolder } from '../support/folders.js';
import { sotuTexts } from '../support/sotu.js';
import { anyText, decodeAsStream } from './texts.js';

interface Case {
  readonly text: string;
  readonly ids: number[];
  readonly withSpecial: number[];
  readonly unparsed: number[];
  readonly decoded: string;
  readonly decodedSkip: string;
}

const fixture = <T>(name: string): T =>
  JSON.parse(readFileSync(new URL(`../fixtures/tokens/${name}`, import.meta.url), 'utf8')) as T;
const open = (json: object): ReturnType<typeof tokenizerFromJson> =>
  tokenizerFromJson(parseTokenizerJson(JSON.stringify(json), 'fixture'), null, 'fixture');

function words(text: string): string[] {
  const list: string[] = [];
  for (let start = 0, end; start < text.length; start = end) list.push(text.slice(start, (end = wordEnd(text, start))));
  return list;
}

describe('words', () => {
  test('are cut as GPT-2 cuts them', () => {
    expect(words("I'll say it's 3.14  times\n\n  'x")).toEqual([
      'I',
      "'ll",
      ' say',
      ' it',
      "'s",
      ' 3',
      '.',
      '14',
      ' ',
      ' times',
      '\n\n ',
      " '",
      'x',
    ]);
    expect(words(" 's IT'S a!?é½ \n")).toEqual([" '", 's', ' IT', "'", 'S', ' a', '!?', 'é', '½', ' \n']);
    // U+0085 is white space and U+FEFF is not, unlike \s in JavaScript.
    expect(words('a \u0085b\ufeffc')).toEqual(['a', ' ', '\u0085', 'b', '\ufeff', 'c']);
  });

  test('cover any text without gaps', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        expect(words(text).join('')).toBe(text);
      }),
    );
  });
});

describe('merging a word', () => {
  /** By the definition: the merge of lowest rank, leftmost of equals, until none applies. */
  function mergeSlowly(merges: readonly [number, number, number][], word: readonly number[]): number[] {
    const ids = [...word];
    for (;;) {
      const rank = merges.findIndex(([left, right]) => ids.some((id, k) => id === left && ids[k + 1] === right));
      if (rank === -1) return ids;
      const [left, right, merged] = merges[rank]!;
      ids.splice(
        ids.findIndex((id, k) => id === left && ids[k + 1] === right),
        2,
        merged,
      );
    }
  }

  // Rules are made of pairs that the word has once the rules before have been applied, so that all of them matter.
  test.each([
    ['short words (by scanning)', 2, 48],
    ['long words (by heap)', 49, 150],
  ])('%s follow the definition', (_name, minLength, maxLength) => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(2), { minLength, maxLength }),
        fc.array(fc.nat(), { maxLength: 20 }),
        (word, choices) => {
          const merges: [number, number, number][] = [];
          for (const choice of choices) {
            const ids = mergeSlowly(merges, word);
            if (ids.length < 2) break;
            const at = choice % (ids.length - 1);
            merges.push([ids[at]!, ids[at + 1]!, 3 + merges.length]);
          }
          // Another order of ranks makes merges that are reached in other ways.
          for (const rules of [merges, merges.toReversed()]) {
            const ids = Int32Array.from(word);
            const left = mergeWord(new MergeRules(rules), ids, ids.length);
            expect([...ids.subarray(0, left)]).toEqual(mergeSlowly(rules, word));
          }
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('a BPE trained here', () => {
  const trained = trainBpe(sotuTexts(30), { vocabSize: 1200 });

  test('@huggingface/tokenizers reads the saved file and encodes and decodes alike', async () => {
    const bpe = await trained;
    const folder = temporaryFolder();
    saveTokenizer(folder, bpe);
    const read = (name: string): object => JSON.parse(readFileSync(`${folder}/${name}`, 'utf8')) as object;
    const library = new Library(read('tokenizer.json'), read('tokenizer_config.json'));
    const check = (text: string): void => {
      const ids = [...bpe.encode(text)];
      expect(library.encode(text).ids).toEqual(ids);
      if (ids.length > 0) expect(library.decode(ids)).toBe(bpe.decode(ids));
      expect(decodeAsStream(bpe, ids)).toBe(text);
    };
    fc.assert(fc.property(anyText, check), { numRuns: 500 });
    check('\u0085\ufeff \ufeff');
    check(sotuTexts(3)[2]!);
    check('x'.repeat(5000));
  });

  test('the saved file opens with the fast encoder and the same ids', async () => {
    const bpe = await trained;
    const folder = temporaryFolder();
    saveTokenizer(folder, bpe);
    const again = await loadTokenizer(folder);
    expect(again).toBeInstanceOf(BpeTokenizer);
    expect(again.fingerprint()).toBe(bpe.fingerprint());
    expect([again.vocabSize, again.bosId, again.eosId, again.padId]).toEqual([1200, 1199, 1199, null]);
    fc.assert(
      fc.property(anyText, (text) => {
        expect([...again.encode(text)]).toEqual([...bpe.encode(text)]);
      }),
    );
  });

  test('half a surrogate pair becomes U+FFFD, as in any UTF-8', async () => {
    const bpe = await trained;
    expect(bpe.decode(bpe.encode('a\ud83d b\ude42'))).toBe('a\ufffd b\ufffd');
  });
});

describe('files of others', () => {
  const rust = fixture<{ tokenizer: TokenizerJson; cases: Case[] }>('rust-bytelevel.json');

  test('byte-level BPE: NFC, added tokens of all kinds and a template, as the Rust library encodes', () => {
    const bpe = open(rust.tokenizer);
    expect(bpe).toBeInstanceOf(BpeTokenizer);
    expect(rust.cases).toHaveLength(150);
    for (const { text, ids, withSpecial, unparsed, decoded, decodedSkip } of rust.cases) {
      expect([...bpe.encode(text)], text).toEqual(ids);
      expect([...bpe.encode(text, { addSpecial: true })]).toEqual(withSpecial);
      expect([...bpe.encode(text, { parseSpecial: false })]).toEqual(unparsed);
      expect(bpe.decode(ids)).toBe(decoded);
      expect(bpe.decode(ids, { skipSpecial: true })).toBe(decodedSkip);
      expect(decodeAsStream(bpe, ids)).toBe(decoded);
    }
  });

  test('WordPiece and Unigram go to the Hugging Face library', () => {
    const { tokenizers } = fixture<{ tokenizers: { tokenizer: TokenizerJson; cases: Case[] }[] }>('rust-others.json');
    for (const { tokenizer: json, cases } of tokenizers) {
      const tokenizer = open(json);
      expect(tokenizer).toBeInstanceOf(HfTokenizer);
      for (const { text, ids, withSpecial, decoded } of cases) {
        expect([...tokenizer.encode(text)]).toEqual(ids);
        expect([...tokenizer.encode(text, { addSpecial: true })]).toEqual(withSpecial);
        expect(tokenizer.decode(ids)).toBe(decoded);
        expect(decodeAsStream(tokenizer, ids)).toBe(decoded);
      }
    }
  });

  test('a part that is not known goes to the library rather than being guessed at', () => {
    const change = (parts: object): object => ({ ...rust.tokenizer, ...parts });
    const model = (parts: object): object => change({ model: { ...rust.tokenizer.model, ...parts } });
    expect(open(change({ normalizer: { type: 'Lowercase' } }))).toBeInstanceOf(HfTokenizer);
    expect(open(change({ pre_tokenizer: { type: 'ByteLevel', add_prefix_space: true } }))).toBeInstanceOf(HfTokenizer);
    expect(open(model({ end_of_word_suffix: '</w>' }))).toBeInstanceOf(HfTokenizer);
    expect(
      open(change({ pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: false } })),
    ).toBeInstanceOf(BpeTokenizer);
    const { Ã: _unused, ...vocab } = rust.tokenizer.model['vocab'] as Record<string, number>;
    expect(open(model({ vocab, merges: [] }))).toBeInstanceOf(HfTokenizer);
  });

  test('of added tokens that begin at the same place the longest is taken, then the next begins behind it', () => {
    const { added_tokens: added } = rust.tokenizer;
    const runs = [2, 3, 4].map((length) => ({
      ...added.find((token) => token.content === '   ')!,
      content: ' '.repeat(length),
      id: 600 + length,
    }));
    const bpe = open({
      ...rust.tokenizer,
      added_tokens: [...added.filter((token) => token.content !== '   '), ...runs],
    });
    const lengths = (count: number): number[] =>
      [...bpe.encode(`a${' '.repeat(count)}`)].slice(1).map((id) => id - 600);
    expect([lengths(2), lengths(4), lengths(7), lengths(10)]).toEqual([[2], [4], [4, 3], [4, 4, 2]]);
  });

  test('a merge whose result is not a token is damage, not a kind', () => {
    const { model } = rust.tokenizer;
    const merges = [...(model['merges'] as [string, string][]), ['zz', 'top']];
    expect(() => open({ ...rust.tokenizer, model: { ...model, merges } })).toThrow(
      /merge \d+ \("zz" "top"\) needs the token "zz", which the vocabulary lacks/,
    );
  });

  test('with ignore_merges a word that is a token is that token', () => {
    const { model } = rust.tokenizer;
    const vocab = { ...(model['vocab'] as Record<string, number>), Ġzq: 500 };
    expect([...open({ ...rust.tokenizer, model: { ...model, vocab } }).encode('a zq')]).not.toContain(500);
    expect([...open({ ...rust.tokenizer, model: { ...model, vocab, ignore_merges: true } }).encode('a zq')]).toContain(
      500,
    );
  });

  test('the fingerprint follows what decides the ids, not the layout of the file', () => {
    const print = (json: object): string => open(json).fingerprint();
    const { model } = rust.tokenizer;
    const merges = model['merges'] as [string, string][];
    const shuffled = Object.fromEntries(Object.entries(rust.tokenizer).reverse());
    const same = {
      ...shuffled,
      version: '2',
      padding: { x: 1 },
      model: { ...model, extra: null, merges: merges.map((m) => m.join(' ')) },
    };
    expect(print(same)).toBe(print(rust.tokenizer));
    expect(print({ ...rust.tokenizer, model: { ...model, merges: merges.slice(1) } })).not.toBe(print(rust.tokenizer));
    expect(print({ ...rust.tokenizer, added_tokens: rust.tokenizer.added_tokens.slice(1) })).not.toBe(
      print(rust.tokenizer),
    );
  });

  test('tokenizer_config.json says which special token is which', () => {
    const ids = (config: object | null): unknown => {
      const { bosId, eosId, padId } = tokenizerFromJson(
        parseTokenizerJson(JSON.stringify(rust.tokenizer), 'f'),
        config as never,
        'f',
      );
      return [bosId, eosId, padId];
    };
    expect(ids(null)).toEqual([0, 0, null]);
    expect(ids({ bos_token: null, eos_token: '<sep>', pad_token: { content: '<mask>' } })).toEqual([null, 421, 420]);
    expect(ids({ eos_token: 'not there' })).toEqual([0, null, null]);
  });
});
