import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Tokenizer as Library } from '@huggingface/tokenizers';
import * as fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { ByteTokenizer } from '../../src/tokens/bytes.js';
import { CharTokenizer, charTokenizer, UnknownCharacterError } from '../../src/tokens/chars.js';
import { loadTokenizer } from '../../src/tokens/load.js';
import { saveTokenizer } from '../../src/tokens/tokenizer-files.js';
import type { Tokenizer } from '../../src/tokens/tokenizer.js';
import { anyText, decodeAsStream } from './texts.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'xlstm-tokens-'));
afterAll(() => rmSync(folder, { recursive: true }));

const readJson = (name: string): object => JSON.parse(readFileSync(path.join(folder, name), 'utf8')) as object;
async function throughLibrary(tokenizer: Tokenizer): Promise<Library> {
  saveTokenizer(folder, tokenizer);
  return new Library(readJson('tokenizer.json'), readJson('tokenizer_config.json'));
}

describe('bytes', () => {
  const bytes = new ByteTokenizer();

  test('ids are the bytes of UTF-8, and 256 ends a text', () => {
    expect([...bytes.encode('aé')]).toEqual([0x61, 0xc3, 0xa9]);
    expect([...bytes.encode('a<|endoftext|>b')]).toEqual([0x61, 256, 0x62]);
    expect([bytes.vocabSize, bytes.bosId, bytes.eosId, bytes.padId]).toEqual([257, 256, 256, null]);
    expect(bytes.encode('<|endoftext|>', { parseSpecial: false })).toHaveLength(13);
    expect([...bytes.encode('')]).toEqual([]);
  });

  test('decode undoes encode, at once and as a stream that never shows half a character', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const ids = bytes.encode(text);
        expect(bytes.decode(ids)).toBe(text);
        expect(decodeAsStream(bytes, ids)).toBe(text);
      }),
    );
    const decoder = bytes.decoder();
    expect([0xf0, 0x9f, 0x99, 0x82, 0x21].map((id) => decoder.push(id))).toEqual(['', '', '', '🙂', '!']);
  });

  test('a U+FEFF at the start is text and stays', () => {
    expect(bytes.decode(bytes.encode('\ufeffa'))).toBe('\ufeffa');
    expect(decodeAsStream(bytes, bytes.encode('\ufeffa'))).toBe('\ufeffa');
  });

  test('bytes that are no character come as U+FFFD, and a special token ends them', () => {
    expect(bytes.decode([0x61, 0xe2, 0x82])).toBe('a\ufffd');
    expect(bytes.decode([0xe2, 256, 0x82])).toBe('\ufffd<|endoftext|>\ufffd');
    expect(decodeAsStream(bytes, [0xe2, 256, 0x82])).toBe('\ufffd<|endoftext|>\ufffd');
    expect(bytes.decode([0xe2, 0x82, 256, 0xac], { skipSpecial: true })).toBe('€');
    expect(decodeAsStream(bytes, [0xe2, 0x82, 256, 0xac], { skipSpecial: true })).toBe('€');
  });

  test('a decoder can be used again after end', () => {
    const decoder = bytes.decoder();
    expect(decoder.push(0xe2) + decoder.end()).toBe('\ufffd');
    expect(decoder.push(0x61) + decoder.end()).toBe('a');
  });

  test('an id outside of the vocabulary is an error that says the range', () => {
    const message = 'decode: there is no token 257; ids of this tokenizer go from 0 to 256';
    expect(() => bytes.decode([257])).toThrow(message);
    expect(() => bytes.decoder().push(-1)).toThrow('there is no token -1');
    expect(() => bytes.tokenBytes(1.5)).toThrow('there is no token 1.5');
    expect(bytes.tokenBytes(0xe2)).toEqual(Uint8Array.of(0xe2));
    expect(bytes.tokenBytes(256)).toEqual(new TextEncoder().encode('<|endoftext|>'));
  });

  test('@huggingface/tokenizers reads the saved file and encodes and decodes alike', async () => {
    const library = await throughLibrary(bytes);
    fc.assert(
      fc.property(anyText, (text) => {
        const ids = [...bytes.encode(text)];
        expect(library.encode(text).ids).toEqual(ids);
        if (ids.length > 0) expect(library.decode(ids)).toBe(bytes.decode(ids));
      }),
    );
  });

  test('the saved file opens as the byte tokenizer again', async () => {
    saveTokenizer(folder, bytes);
    const again = await loadTokenizer(folder);
    expect(again).toBeInstanceOf(ByteTokenizer);
    expect(again.fingerprint()).toBe(bytes.fingerprint());
    expect([again.vocabSize, again.bosId, again.eosId, again.padId]).toEqual([257, 256, 256, null]);
    expect(again.encode('é')).toEqual(bytes.encode('é'));
  });
});

describe('characters', () => {
  test('ids follow the code points of the text', async () => {
    const chars = await charTokenizer('hello\n🙂');
    expect([...chars.encode('\nhe🙂')]).toEqual([0, 2, 1, 5]);
    expect(chars.vocabSize).toBe(6);
    expect([chars.bosId, chars.eosId, chars.padId]).toEqual([null, null, null]);
  });

  test('decode undoes encode; library and saved file agree', async () => {
    const text = 'The quick brown fox — 12 naïve 漢字 🙂👩‍👧 constructor __proto__\n\t"\\';
    const chars = await charTokenizer([text.slice(0, 20), text.slice(20)]);
    const library = await throughLibrary(chars);
    const again = await loadTokenizer(folder);
    expect(again).toBeInstanceOf(CharTokenizer);
    expect(again.fingerprint()).toBe(chars.fingerprint());
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...text)), (letters) => {
        const ids = chars.encode(letters.join(''));
        expect(chars.decode(ids)).toBe(letters.join(''));
        expect(decodeAsStream(chars, ids)).toBe(letters.join(''));
        expect([...again.encode(letters.join(''))]).toEqual([...ids]);
        expect(library.encode(letters.join('')).ids).toEqual([...ids]);
        if (ids.length > 0) expect(library.decode([...ids])).toBe(letters.join(''));
      }),
    );
  });

  test('an end-of-text token comes last, if asked for', async () => {
    const chars = await charTokenizer('ab', { endOfText: true });
    expect([chars.vocabSize, chars.eosId]).toEqual([3, 2]);
    expect([...chars.encode('a<|endoftext|>b')]).toEqual([0, 2, 1]);
    expect(chars.decode([0, 2, 1], { skipSpecial: true })).toBe('ab');
    saveTokenizer(folder, chars);
    const again = await loadTokenizer(folder);
    expect([again.vocabSize, again.eosId]).toEqual([3, 2]);
    expect([...again.encode('a<|endoftext|>b')]).toEqual([0, 2, 1]);
  });

  test('an unknown character is named with its place, also behind a special token', async () => {
    const chars = await charTokenizer('ab\n', { endOfText: true });
    expect(() => chars.encode('ab\nab🙂')).toThrow(
      'the character "🙂" (U+1F642) at line 2, column 3 is not among the 4 tokens of this character tokenizer',
    );
    expect(() => chars.encode('a\n<|endoftext|>bé')).toThrow('"é" (U+00E9) at line 2, column 15');
    try {
      chars.encode('ab\nab🙂');
    } catch (error) {
      expect(error).toBeInstanceOf(UnknownCharacterError);
      expect(error).toMatchObject({ character: '🙂', index: 5 });
    }
    expect.assertions(4);
  });

  test('no text and half a character are refused', async () => {
    await expect(charTokenizer('')).rejects.toThrow('charTokenizer: the text is empty');
    await expect(charTokenizer('a\ud83d')).rejects.toThrow('half of a surrogate pair (U+D83D)');
  });

  test('different characters make a different fingerprint', async () => {
    const [one, two] = [await charTokenizer('abc'), await charTokenizer('abd')];
    expect(one.fingerprint()).not.toBe(two.fingerprint());
    expect(one.fingerprint()).toMatch(/^[0-9a-f]{64}$/);
  });
});

describe('opening', () => {
  const open = (text: string): Promise<Tokenizer> => {
    writeFileSync(path.join(folder, 'bad.json'), text);
    return loadTokenizer(path.join(folder, 'bad.json'));
  };

  test('what is missing or damaged is said in a sentence that names the file', async () => {
    await expect(loadTokenizer(path.join(folder, 'nowhere'))).rejects.toThrow(/there is no file or folder .*nowhere/);
    await expect(loadTokenizer(os.tmpdir())).rejects.toThrow(/the folder .* has no tokenizer\.json/);
    await expect(open('{"model":')).rejects.toThrow(/bad\.json: not valid JSON/);
    await expect(open('[1]')).rejects.toThrow(/bad\.json: must hold a JSON object/);
    await expect(open('{"vocab":{}}')).rejects.toThrow(/bad\.json: not a tokenizer\.json, it has no "model"/);
    await expect(open('{"model":{},"added_tokens":3}')).rejects.toThrow('"added_tokens" must be a list');
    await expect(open('{"model":{},"added_tokens":[{"id":1}]}')).rejects.toThrow('needs an "id" and a "content"');
    await expect(open('{"model":{},"decoder":[]}')).rejects.toThrow('"decoder" must be null or an object');
    await expect(open('{"model":{"type":"Whatever"}}')).rejects.toThrow(/bad\.json: this kind of tokenizer is not/);
  });

  test('a folder that cannot be written is one clear sentence', () => {
    writeFileSync(path.join(folder, 'file'), '');
    expect(() => saveTokenizer(path.join(folder, 'file'), new ByteTokenizer())).toThrow(
      /cannot write the tokenizer .*; choose another (folder|name)|remove it/,
    );
  });
});
