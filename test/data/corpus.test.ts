import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type CorpusDocument, type CorpusOptions, readDocuments, readPieces } from '../../src/data/corpus.js';
import { JsonlPieces } from '../../src/data/jsonl-pieces.js';
import { listSourceFiles } from '../../src/data/source-files.js';
import { cutPlace, TextPieces } from '../../src/data/text-pieces.js';
import { firstInvalid, StrictUtf8 } from '../../src/data/utf8.js';
import { wordEnd } from '../../src/tokens/pretokenize.js';
import { temporaryFolder } from '../support/folders.js';
import { sotuFiles } from '../support/sotu.js';
import { anyText } from '../tokens/texts.js';

const fixture = (name: string): string => fileURLToPath(new URL(`../fixtures/data/${name}`, import.meta.url));

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}
const documents = (paths: string | string[], options?: CorpusOptions): Promise<CorpusDocument[]> =>
  all(readDocuments(paths, options));

function write(name: string, content: string | Uint8Array, folder = temporaryFolder()): string {
  const file = path.join(folder, name);
  writeFileSync(file, content);
  return file;
}

describe('strict UTF-8', () => {
  const decode = (bytes: Uint8Array, size: number): string => {
    const utf8 = new StrictUtf8((offset) => new Error(`bad at ${offset}`));
    let text = '';
    for (let at = 0; at < bytes.length; at += size) text += utf8.push(Buffer.from(bytes.subarray(at, at + size)));
    return text + utf8.end();
  };

  test('text comes back whatever the pieces are, without a BOM at its start', () => {
    fc.assert(
      fc.property(anyText, fc.integer({ min: 1, max: 9 }), fc.boolean(), (text, size, bom) => {
        const bytes = new TextEncoder().encode((bom ? '\ufeff' : '') + text);
        expect(decode(bytes, size)).toBe(bom ? text : text.replace(/^\ufeff/, ''));
      }),
    );
  });

  test('the first wrong byte is found, whatever the pieces are, where the standard decoder finds one', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 12 }),
        anyText,
        fc.nat(),
        fc.integer({ min: 1, max: 9 }),
        (noise, text, at, size) => {
          const good = [...new TextEncoder().encode(text)];
          const bytes = Uint8Array.from([
            ...good.slice(0, at % (good.length + 1)),
            ...noise,
            ...good.slice(at % (good.length + 1)),
          ]);
          const valid = isValid(bytes);
          const bad = firstInvalid(bytes);
          expect(bad === -1).toBe(valid);
          if (valid) {
            expect(() => decode(bytes, size)).not.toThrow();
            return;
          }
          // All before it is UTF-8, and no way of going on makes it so.
          expect(isValid(bytes.subarray(0, bad))).toBe(true);
          for (let more = 1; more <= 4; more++) expect(isValid(bytes.subarray(bad, bad + more))).toBe(false);
          expect(() => decode(bytes, size)).toThrow(`bad at ${bad}`);
        },
      ),
      { numRuns: 500 },
    );
  });

  test('overlong forms, surrogates and what lies beyond U+10FFFF are wrong at their first byte', () => {
    const wrong = [
      'c0af',
      'c1bf',
      'e08080',
      'e09fbf',
      'eda080',
      'edbfbf',
      'f0808080',
      'f08fbfbf',
      'f4908080',
      'f5808080',
      '80',
      'ff',
    ];
    for (const hex of wrong) {
      const bytes = Buffer.concat([Buffer.from('é'), Buffer.from(hex, 'hex'), Buffer.from('a')]);
      expect([hex, firstInvalid(bytes)]).toEqual([hex, 2]);
    }
    for (const hex of ['c280', 'dfbf', 'e0a080', 'ed9fbf', 'ee8080', 'efbfbf', 'f0908080', 'f48fbfbf']) {
      expect([hex, firstInvalid(Buffer.from(hex, 'hex'))]).toEqual([hex, -1]);
    }
  });

  const isValid = (bytes: Uint8Array): boolean => {
    try {
      new TextDecoder('utf-8', { fatal: true }).decode(bytes);
      return true;
    } catch {
      return false;
    }
  };
});

describe('pieces of text', () => {
  const pieces = (text: string, separator: string | null, pieceLength: number, chunk: number): string[][] => {
    const cut = new TextPieces('f', separator, pieceLength);
    const list: string[][] = [];
    const take = (some: Iterable<{ text: string; start: boolean }>): void => {
      for (const piece of some) {
        if (piece.start) list.push([piece.text]);
        else list.at(-1)!.push(piece.text);
      }
    };
    for (let at = 0; at < text.length; at += chunk) take(cut.push(text.slice(at, at + chunk)));
    take(cut.end());
    return list;
  };

  test('joined they are the text, none is longer than asked, and none ends inside a character', () => {
    fc.assert(
      fc.property(anyText, fc.integer({ min: 2, max: 40 }), fc.integer({ min: 1, max: 50 }), (text, length, chunk) => {
        const list = pieces(text, null, length, chunk).flat();
        expect(list.join('')).toBe(text);
        for (const piece of list) expect([piece.length <= length, piece.isWellFormed()]).toEqual([true, true]);
      }),
    );
  });

  test('separators cut documents, with the line breaks around them, however the text comes in', () => {
    const part = fc.constantFrom('a', ' b', '\n', '\r\n', '<', '<|', '|>', 'end', '<|end|>', '\n<|end|>\n', '🙂');
    fc.assert(
      fc.property(
        fc.array(part, { maxLength: 20 }),
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 2, max: 30 }),
        (parts, chunk, length) => {
          const text = parts.join('');
          const expected = text.split(/(?:\r?\n)?<\|end\|>(?:\r?\n)?/).filter((document) => document !== '');
          expect(pieces(text, '<|end|>', length, chunk).map((document) => document.join(''))).toEqual(expected);
        },
      ),
      { numRuns: 500 },
    );
  });

  test('a cut at white space does not change the words of the whole', () => {
    const words = (text: string): string[] => {
      const list: string[] = [];
      for (let at = 0, end; at < text.length; at = end) list.push(text.slice(at, (end = wordEnd(text, at))));
      return list;
    };
    fc.assert(
      fc.property(anyText, fc.integer({ min: 2, max: 60 }), (text, limit) => {
        fc.pre(limit < text.length);
        const at = cutPlace(text, 0, limit);
        fc.pre(/[ \n]/.test(text[at]!) && !/\p{White_Space}/u.test(text[at - 1]!));
        expect([...words(text.slice(0, at)), ...words(text.slice(at))]).toEqual(words(text));
      }),
    );
  });
});

describe('files', () => {
  test('a .txt file is one document, without its BOM, with its line ends as they are', async () => {
    const file = write('a.txt', '\ufeffone\r\ntwo\n');
    expect(await documents(file)).toEqual([{ text: 'one\r\ntwo\n', source: file }]);
  });

  test('a separator makes documents of a .txt file', async () => {
    const file = write('a.txt', '<|endoftext|>\none\n<|endoftext|>\ntwo<|endoftext|><|endoftext|>three\n');
    const found = await documents(file, { separator: '<|endoftext|>' });
    expect(found.map(({ text }) => text)).toEqual(['one', 'two', 'three\n']);
    expect(await documents(file)).toHaveLength(1);
  });

  test('a long file comes in pieces that begin one document', async () => {
    const [file = ''] = sotuFiles(1);
    const list = await all(readPieces(await listSourceFiles(file), { pieceLength: 1000 }));
    expect(list.length).toBeGreaterThan(5);
    expect(list.map(({ start }) => start)).toEqual(list.map((_, k) => k === 0));
    expect(list.map(({ text }) => text).join('')).toBe(readFileSync(file, 'utf8'));
  });

  test('.jsonl: a record a line, the text in a field; blank lines and empty texts are left out', async () => {
    const file = write('a.jsonl', '\ufeff{"text":"one\\u00e9","n":1}\r\n\n{"text":""}\n{"text":"🙂","body":"b"}');
    expect(await documents(file)).toEqual([
      { text: 'oneé', source: `${file}:1` },
      { text: '🙂', source: `${file}:4` },
    ]);
    const other = write('b.jsonl', '{"body":"x"}\n{"body":"y"}\n');
    expect((await documents(other, { field: 'body' })).map(({ text }) => text)).toEqual(['x', 'y']);
  });

  test('.jsonl in any pieces of bytes gives the same documents', () => {
    const bytes = readFileSync(fixture('records.jsonl'));
    const expected = bytes
      .toString()
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { text: string }).text);
    for (const size of [1, 7, 1000, 1 << 20]) {
      const records = new JsonlPieces('f', 'text');
      const found: string[] = [];
      for (let at = 0; at < bytes.length; at += size) {
        for (const { text } of records.push(bytes.subarray(at, at + size))) found.push(text);
      }
      for (const { text } of records.end()) found.push(text);
      expect(found).toEqual(expected);
    }
  });

  test('.jsonl.zst is the same as .jsonl, in one frame or several', async () => {
    const plain = (await documents(fixture('records.jsonl'))).map(({ text }) => text);
    expect(plain).toHaveLength(40);
    expect((await documents(fixture('records.jsonl.zst'))).map(({ text }) => text)).toEqual(plain);
    const frame = readFileSync(fixture('records.jsonl.zst'));
    const twice = await documents(write('twice.jsonl.zst', Buffer.concat([frame, frame])));
    expect(twice.map(({ text }) => text)).toEqual([...plain, ...plain]);
    expect(twice.at(-1)!.source).toMatch(/twice\.jsonl\.zst:80$/);
  });

  test('a folder gives its files by name, also below, each once', async () => {
    const folder = temporaryFolder();
    mkdirSync(path.join(folder, 'sub'));
    mkdirSync(path.join(folder, '.hidden'));
    for (const name of ['b.txt', 'a.TXT', 'sub/c.txt', '.hidden/d.txt', '.e.txt', 'readme.md'])
      write(name, name, folder);
    copyFileSync(fixture('records.jsonl.zst'), path.join(folder, 'sub', 'r.jsonl.zst'));
    symlinkSync(path.join(folder, 'b.txt'), path.join(folder, 'z.txt'));
    const names = (await listSourceFiles([folder, path.join(folder, 'b.txt')])).map((file) =>
      path.relative(folder, file.path),
    );
    expect(names).toEqual(['a.TXT', 'b.txt', path.join('sub', 'c.txt'), path.join('sub', 'r.jsonl.zst')]);
  });

  test('the bytes that are read are shown, in order', async () => {
    const file = write('a.txt', 'x'.repeat(3_000_000));
    let bytes = 0;
    await documents(file, { onBytes: (from, some) => (bytes += from.path === file ? some.length : NaN) });
    expect(bytes).toBe(3_000_000);
  });
});

describe('what cannot be read is one clear sentence', () => {
  const refuses = async (file: string | string[], message: RegExp | string, options?: CorpusOptions): Promise<void> =>
    expect(documents(file, options)).rejects.toThrow(message);

  test('files', async () => {
    const folder = temporaryFolder();
    await refuses(path.join(folder, 'no.txt'), /corpus: there is no file or folder .*no\.txt/);
    await refuses([], 'corpus: no files are given');
    await refuses(folder, /the folder .* has no \.txt, \.jsonl or \.jsonl\.zst files \(of 0 entries\)/);
    await refuses(
      write('a.csv', 'x', folder),
      /a\.csv is not a \.txt, \.jsonl or \.jsonl\.zst file; if it is plain text, name it \.txt/,
    );
    await refuses(write('empty.txt', '', folder), /empty\.txt is empty/);
    await refuses(write('bom.txt', '\ufeff', folder), /bom\.txt has no text in it/);
    await refuses(write('none.jsonl', '\n\n{"text":""}\n', folder), /none\.jsonl has no text in it/);
  });

  test('text that is not UTF-8: the file, the byte, its place, and the command that helps', async () => {
    const latin = Buffer.from('line one\ncaf\xe9 au lait', 'latin1');
    await refuses(
      write('latin.txt', latin),
      /latin\.txt is not UTF-8: byte 0xE9 at offset 12 \(line 2\); .*Latin-1, convert it: iconv -f ISO-8859-1 -t UTF-8/,
    );
    await refuses(
      write('utf16.txt', Buffer.from('\ufeffhello', 'utf16le')),
      /byte 0xFF at offset 0 \(line 1\); it looks like UTF-16/,
    );
    await refuses(write('cut.txt', Buffer.from('abc€').subarray(0, 5)), /byte 0xE2 at offset 3 \(line 1\)/);
    const far = Buffer.concat([Buffer.from('é\n'.repeat(700_000)), Buffer.from([0xff])]);
    await refuses(write('far.txt', far), /byte 0xFF at offset 2100000 \(line 700001\)/);
    const record = Buffer.concat([Buffer.from('{"text":"a"}\n{"text":"'), Buffer.from([0xe9]), Buffer.from('"}\n')]);
    await refuses(write('latin.jsonl', record), /latin\.jsonl:2 is not UTF-8: byte 0xE9 at offset 22/);
  });

  test('records: the file and the line', async () => {
    await refuses(
      write('a.jsonl', '{"text":"a"}\n{"text":\n'),
      /a\.jsonl:2 is not valid JSON: .*each line must be one JSON object/,
    );
    await refuses(write('b.jsonl', '["a"]'), /b\.jsonl:1 must be a JSON object with a field "text"/);
    await refuses(
      write('c.jsonl', '{"text":"a"}\n{"body":"b","id":2}'),
      /c\.jsonl:2 has no field "text"; its fields are "body", "id"; choose one/,
    );
    await refuses(write('d.jsonl', '{"text":["a"]}'), /d\.jsonl:1: the field "text" must hold text, got \["a"\]/);
    await refuses(write('e.jsonl', '{}'), /its fields are none/);
  });

  test('compressed files', async () => {
    const whole = readFileSync(fixture('records.jsonl.zst'));
    await refuses(
      write('cut.jsonl.zst', whole.subarray(0, whole.length - 20)),
      /cut\.jsonl\.zst is damaged or cut short \(unexpected EOF\); check it with: zstd --test/,
    );
    await refuses(
      write('not.jsonl.zst', 'plain text, not zstd'),
      /not\.jsonl\.zst is damaged or cut short \(invalid zstd data\)/,
    );
  });
});
