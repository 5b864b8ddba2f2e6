import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import * as fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { createBatches, evaluationBatches } from '../../src/data/batches.js';
import { readDocuments } from '../../src/data/corpus.js';
import { type Dataset, type DatasetPart, openDataset } from '../../src/data/dataset.js';
import { prepareDataset, type PrepareOptions } from '../../src/data/prepare.js';
import type { PrepareProgress } from '../../src/data/tokenize-corpus.js';
import { trainBpe } from '../../src/tokens/bpe-train.js';
import { ByteTokenizer } from '../../src/tokens/bytes.js';
import { charTokenizer } from '../../src/tokens/chars.js';
import type { Tokenizer } from '../../src/tokens/tokenizer.js';
import { canMount, smallDisk, temporaryFolder } from '../support/folders.js';
import { sotuFiles, sotuTexts } from '../support/sotu.js';

const bytes = new ByteTokenizer();
const records = fileURLToPath(new URL('../fixtures/data/records.jsonl.zst', import.meta.url));

function ids(part: DatasetPart): number[] {
  const out = new Int32Array(part.tokens.length);
  part.tokens.copy(out, 0, 0, out.length);
  return [...out];
}
const starts = ({ documents }: DatasetPart): number[] =>
  Array.from({ length: documents.length }, (_, k) => documents.at(k));

/** The documents of a part, as text. */
function texts(part: DatasetPart, tokenizer: Tokenizer): string[] {
  const all = ids(part);
  const at = starts(part);
  return at.map((start, k) => tokenizer.decode(all.slice(start, at[k + 1] ?? all.length), { skipSpecial: true }));
}

/** Prepares into a new folder and opens it. */
async function prepared(options: Omit<PrepareOptions, 'folder'>): Promise<Dataset> {
  const folder = path.join(temporaryFolder(), 'data');
  await prepareDataset({ ...options, folder });
  return openDataset(folder, { fingerprint: options.tokenizer.fingerprint(), access: 'read' });
}

function write(name: string, content: string | Uint8Array, folder = temporaryFolder()): string {
  fs.writeFileSync(path.join(folder, name), content);
  return path.join(folder, name);
}

const lines = (count: number): string =>
  Array.from({ length: count }, (_, k) => `Line ${k} is — well — line ${k * k}.\n`).join('');

describe('one text, split by position', () => {
  test('the last part is held out from a line break on; nothing is lost and nothing is twice', async () => {
    const text = lines(1000);
    using data = await prepared({ files: write('a.txt', text), tokenizer: bytes, validationFraction: 0.2 });
    expect(data.meta.split).toBe('tail');
    const [[train = ''], [held = '']] = [texts(data.train, bytes), texts(data.validation, bytes)];
    expect(train + held).toBe(text);
    expect(train.endsWith('\n')).toBe(true);
    expect(held.length / text.length).toBeCloseTo(0.2, 2);
    // Both begin as a document does; only the second ends as one.
    expect(ids(data.train)).toEqual([256, ...Buffer.from(train)]);
    expect(ids(data.validation)).toEqual([256, ...Buffer.from(held), 256]);
    expect([starts(data.train), starts(data.validation)]).toEqual([[0], [0]]);
    const measure = (part: string): object => ({
      bytes: Buffer.byteLength(part),
      characters: [...part].length,
      documents: 1,
    });
    expect(data.meta.train).toMatchObject(measure(train));
    expect(data.meta.validation).toMatchObject(measure(held));
  });

  test('any text, with and without lines, is cut between characters and kept whole', async () => {
    const text = fc.string({ unit: fc.constantFrom('a', ' ', '\n', 'é', '🙂'), minLength: 1, maxLength: 60 });
    const folder = temporaryFolder();
    await fc.assert(
      fc.asyncProperty(text, fc.constantFrom(0.1, 0.5, 0.9), async (content, validationFraction) => {
        const files = write('a.txt', content, folder);
        try {
          await prepareDataset({
            files,
            tokenizer: bytes,
            folder: path.join(folder, 'data'),
            validationFraction,
            splitBy: 'tail',
          });
        } catch (error) {
          // Too short to be cut at all.
          expect(String(error)).toContain('cannot be cut: it is too short');
          expect([...content].length).toBeLessThan(2);
          return;
        }
        using data = openDataset(path.join(folder, 'data'), { access: 'read' });
        const [train, held] = [texts(data.train, bytes).join(''), texts(data.validation, bytes).join('')];
        expect(train + held).toBe(content);
        expect(train !== '' && held !== '' && train.isWellFormed()).toBe(true);
      }),
      { numRuns: 100 },
    );
  });

  test('characters without an end-of-text token: the stream is the text', async () => {
    const text = lines(200);
    const chars = await charTokenizer(text);
    using data = await prepared({ files: write('a.txt', text), tokenizer: chars });
    expect(chars.decode([...ids(data.train), ...ids(data.validation)])).toBe(text);
    expect(data.meta.tokenizer.eosId).toBe(null);
    expect(data.train.tokens.length).toBe(data.meta.train.characters);
  });

  test('a text of many pieces gives the tokens of the whole', async () => {
    const text = `${sotuTexts(60).join('\n\n')}\n`;
    expect(text.length).toBeGreaterThan(2 ** 20);
    const bpe = await trainBpe(text, { vocabSize: 700 });
    using data = await prepared({ files: write('a.txt', text), tokenizer: bpe, validationFraction: 0 });
    expect(ids(data.train)).toEqual([bpe.eosId, ...bpe.encode(text), bpe.eosId]);
    expect([data.meta.split, data.validation.tokens.length]).toEqual([null, 0]);
  });

  test('a few documents of .jsonl are split at a document', async () => {
    const file = write('a.jsonl', Array.from({ length: 10 }, (_, k) => `{"text":"document ${k}"}\n`).join(''));
    using data = await prepared({ files: file, tokenizer: bytes, validationFraction: 0.3 });
    expect(texts(data.validation, bytes)).toEqual(['document 7', 'document 8', 'document 9']);
    expect(data.meta.split).toBe('tail');
  });
});

describe('many documents, split by their text', () => {
  const files = sotuFiles(60);

  test('whole documents are held out, each in one part, in their order; about the fraction of all tokens', async () => {
    using data = await prepared({ files, tokenizer: bytes, validationFraction: 0.15 });
    expect(data.meta.split).toBe('document');
    const [train, held] = [texts(data.train, bytes), texts(data.validation, bytes)];
    const original = files.map((file) => fs.readFileSync(file, 'utf8'));
    expect(train).toEqual(original.filter((text) => !held.includes(text)));
    expect(held).toEqual(original.filter((text) => held.includes(text)));
    expect(train.length + held.length).toBe(60);
    expect(data.meta.validation.tokens / (data.meta.train.tokens + data.meta.validation.tokens)).toBeCloseTo(0.15, 1);
    // The end-of-text token begins each document and ends the last.
    expect(starts(data.train).every((start) => data.train.tokens.at(start) === 256)).toBe(true);
    expect(ids(data.train).filter((id) => id === 256)).toHaveLength(train.length + 1);
    expect(data.train.tokens.at(data.train.tokens.length - 1)).toBe(256);
    const measure = (part: string[]): object => ({
      documents: part.length,
      bytes: part.reduce((sum, text) => sum + Buffer.byteLength(text), 0),
      characters: part.reduce((sum, text) => sum + [...text].length, 0),
    });
    expect(data.meta.train).toMatchObject(measure(train));
    expect(data.meta.validation).toMatchObject(measure(held));
  });

  test('the seed decides which; the order of the files does not', async () => {
    const held = async (seed: number, list: readonly string[]): Promise<string[]> => {
      using data = await prepared({ files: list, tokenizer: bytes, seed });
      return texts(data.validation, bytes).sort();
    };
    const first = await held(1, files);
    expect(await held(1, files.toReversed())).toEqual(first);
    expect(await held(2, files)).not.toEqual(first);
  });

  test('documents of the same text are on the same side', async () => {
    const file = write('a.jsonl', Array.from({ length: 90 }, (_, k) => `{"text":"document ${k % 9}"}\n`).join(''));
    for (const seed of [0, 1, 2]) {
      using data = await prepared({ files: file, tokenizer: bytes, validationFraction: 0.3, seed });
      const [train, held] = [new Set(texts(data.train, bytes)), new Set(texts(data.validation, bytes))];
      expect([...held].filter((text) => train.has(text))).toEqual([]);
      expect([train.size + held.size, held.size >= 2]).toEqual([9, true]);
    }
  });

  test('compressed records; a separator in text; the name of a special token inside a document is only text', async () => {
    using data = await prepared({ files: records, tokenizer: bytes });
    const all = [...texts(data.train, bytes), ...texts(data.validation, bytes)].sort();
    const documents: string[] = [];
    for await (const { text } of readDocuments(records)) documents.push(text);
    expect(all).toEqual(documents.sort());

    const file = write('a.txt', 'one\n<|endoftext|>\ntwo');
    using cut = await prepared({ files: file, tokenizer: bytes, validationFraction: 0 });
    expect(ids(cut.train)).toEqual([256, ...Buffer.from('one'), 256, ...Buffer.from('two'), 256]);
    expect(starts(cut.train)).toEqual([0, 4]);
    using whole = await prepared({ files: file, tokenizer: bytes, validationFraction: 0, separator: null });
    expect(ids(whole.train)).toEqual([256, ...Buffer.from('one\n<|endoftext|>\ntwo'), 256]);
  });
});

describe('token ids', () => {
  test('take 16 bits while the vocabulary allows it, else 32', async () => {
    const wide: Tokenizer = Object.assign(Object.create(bytes) as Tokenizer, {
      vocabSize: 100_000,
      encode: (text: string) => Int32Array.from(Buffer.from(text), (byte) => byte + 90_000),
      fingerprint: () => 'wide',
      eosId: null,
    });
    const file = write('a.txt', lines(10));
    using data = await prepared({ files: file, tokenizer: wide, validationFraction: 0 });
    expect(data.meta.type).toBe('uint32');
    expect(ids(data.train)).toEqual([...Buffer.from(lines(10))].map((byte) => byte + 90_000));
    using narrow = await prepared({ files: file, tokenizer: bytes });
    expect(narrow.meta.type).toBe('uint16');
  });

  test('mapped and read files give the same batches', async () => {
    const folder = path.join(temporaryFolder(), 'data');
    await prepareDataset({ files: sotuFiles(30), tokenizer: bytes, folder });
    using mapped = openDataset(folder, { access: 'map' });
    using read = openDataset(folder, { access: 'read' });
    for (const order of ['shuffle', 'random', 'stream'] as const) {
      const [a, b] = [
        createBatches(mapped.train, { B: 4, T: 64, order }),
        createBatches(read.train, { B: 4, T: 64, order }),
      ];
      for (const step of [0, 1, 77]) expect(a.batchAt(step)).toEqual(b.batchAt(step));
    }
    expect([...evaluationBatches(mapped.validation, { B: 4, T: 64, batches: 3 })]).toEqual([
      ...evaluationBatches(read.validation, { B: 4, T: 64, batches: 3 }),
    ]);
  });
});

describe('doing nothing twice', () => {
  test('the same files, tokenizer and options are found again; a change of any makes it anew', async () => {
    const folder = temporaryFolder();
    const file = write('a.txt', lines(100), folder);
    const base = { files: file, tokenizer: bytes as Tokenizer, folder: path.join(folder, 'data') };
    const again = async (change: Partial<PrepareOptions> = {}): Promise<boolean> =>
      (await prepareDataset({ ...base, ...change })).reused;
    expect(await again()).toBe(false);
    expect(await again()).toBe(true);
    fs.utimesSync(file, 1, 1); // touched, not changed
    expect(await again()).toBe(true);
    fs.copyFileSync(file, path.join(folder, 'moved.txt'));
    expect(await again({ files: path.join(folder, 'moved.txt') })).toBe(true);

    expect(await again({ validationFraction: 0.3 })).toBe(false);
    expect(await again({ validationFraction: 0.3, seed: 4 })).toBe(false);
    expect(await again({ validationFraction: 0.3, seed: 4, splitBy: 'tail' })).toBe(false);
    expect(await again({ separator: null })).toBe(false);
    const chars = await charTokenizer(lines(100));
    expect(await again({ tokenizer: chars })).toBe(false);
    expect(await again({ tokenizer: chars })).toBe(true);
    fs.writeFileSync(file, lines(100).replace('Line 5', 'Line 6'));
    expect(await again({ tokenizer: chars })).toBe(false);
    fs.appendFileSync(file, 'Line');
    expect(await again({ tokenizer: chars })).toBe(false);
    expect(await again({ tokenizer: chars, files: [file, write('b.txt', 'Line', folder)] })).toBe(false);
  });

  test('a file of the dataset that is damaged or gone makes it anew', async () => {
    const folder = path.join(temporaryFolder(), 'data');
    const options = { files: write('a.txt', lines(100)), tokenizer: bytes, folder };
    await prepareDataset(options);
    const good = fs.readFileSync(path.join(folder, 'train.bin'));
    fs.truncateSync(path.join(folder, 'train.bin'), 10);
    expect(() => openDataset(folder)).toThrow(
      /train\.bin has 5 numbers, meta\.json says \d+; it is damaged, delete the folder/,
    );
    expect((await prepareDataset(options)).reused).toBe(false);
    expect(fs.readFileSync(path.join(folder, 'train.bin'))).toEqual(good);
    fs.rmSync(path.join(folder, 'validation.documents.bin'));
    expect((await prepareDataset(options)).reused).toBe(false);
    expect(fs.readdirSync(folder).sort()).toEqual([
      'meta.json',
      'train.bin',
      'train.documents.bin',
      'validation.bin',
      'validation.documents.bin',
    ]);
  });
});

describe('a failure loses nothing', () => {
  test('an old dataset stands when the new text cannot be read, and nothing is left over', async () => {
    const folder = path.join(temporaryFolder(), 'data');
    await prepareDataset({ files: write('a.txt', lines(100)), tokenizer: bytes, folder });
    const before = fs.readdirSync(folder).map((name) => [name, fs.readFileSync(path.join(folder, name), 'hex')]);
    const bad = write('b.txt', Buffer.concat([Buffer.from(lines(100_000)), Buffer.from([0xff])]));
    await expect(prepareDataset({ files: bad, tokenizer: bytes, folder })).rejects.toThrow(
      /b\.txt is not UTF-8: byte 0xFF/,
    );
    expect(fs.readdirSync(folder).map((name) => [name, fs.readFileSync(path.join(folder, name), 'hex')])).toEqual(
      before,
    );
  });

  test('an abort stops in between', async () => {
    const controller = new AbortController();
    const folder = path.join(temporaryFolder(), 'data');
    const onProgress = ({ documents }: PrepareProgress): void => {
      if (documents === 3) controller.abort();
    };
    const options = { files: sotuFiles(20), tokenizer: bytes, folder, onProgress, signal: controller.signal };
    await expect(prepareDataset(options)).rejects.toThrow(/abort/i);
    expect(fs.readdirSync(folder)).toEqual([]);
  });

  test('a process that is killed while it replaces a dataset leaves no mix that looks whole', async () => {
    const folder = path.join(temporaryFolder(), 'data');
    const options = { files: write('a.txt', lines(100)), tokenizer: bytes, folder };
    await prepareDataset(options);
    // The kill: nothing happens from the third rename on.
    const rename = fs.renameSync;
    let renames = 0;
    const spy = vi.spyOn(fs, 'renameSync').mockImplementation((from, to) => {
      if (++renames > 3) throw new Error('killed');
      rename(from, to);
    });
    await expect(prepareDataset({ ...options, validationFraction: 0.5 })).rejects.toThrow('killed');
    spy.mockRestore();
    expect(() => openDataset(folder)).toThrow(
      /the dataset in .* is not complete, or of another version; prepareDataset makes it anew/,
    );
    expect((await prepareDataset({ ...options, validationFraction: 0.5 })).reused).toBe(false);
    openDataset(folder).close();
  });

  test.skipIf(!canMount)('a full disk is one clear sentence, and the old dataset stands', async () => {
    const disk = smallDisk(1_000_000);
    const folder = path.join(disk.folder, 'data');
    const small = { files: write('a.txt', lines(100)), tokenizer: bytes, folder };
    await prepareDataset(small);
    await expect(prepareDataset({ ...small, files: sotuFiles(30) })).rejects.toThrow(
      /^cannot write the dataset .*data: the disk is full \(ENOSPC, .* free\); free space or choose a folder on another disk; the previous dataset stands$/,
    );
    // Mapped files keep a disk busy until they are collected.
    openDataset(folder, { access: 'read' }).close();
    expect((await prepareDataset(small)).reused).toBe(true);
    disk.makeReadOnly();
    await expect(prepareDataset({ ...small, seed: 1 })).rejects.toThrow(
      /the file system is read-only \(EROFS\).*the previous dataset stands/,
    );
    await expect(prepareDataset({ ...small, folder: path.join(disk.folder, 'new') })).rejects.toThrow(
      /EROFS.*nothing was there before/,
    );
  });

  test('a path that cannot be a folder', async () => {
    const file = write('file', '');
    const options = { files: write('a.txt', lines(100)), tokenizer: bytes };
    await expect(prepareDataset({ ...options, folder: path.join(file, 'data') })).rejects.toThrow(
      /cannot write the dataset .*; choose another folder/,
    );
  });

  test('a folder with something else in it is not touched', async () => {
    const options = { files: write('a.txt', lines(100)), tokenizer: bytes };
    for (const name of ['train.bin', 'meta.json']) {
      const folder = path.dirname(write(name, '{}'));
      await expect(prepareDataset({ ...options, folder })).rejects.toThrow(
        /holds files of something else .*choose another folder/,
      );
      expect(fs.readdirSync(folder)).toEqual([name]);
    }
  });
});

describe('what cannot be is one clear sentence', () => {
  const refuses = async (options: Partial<PrepareOptions>, message: string | RegExp): Promise<void> => {
    const folder = path.join(temporaryFolder(), 'data');
    const files = options.files ?? write('a.txt', lines(100));
    await expect(prepareDataset({ files, tokenizer: bytes, folder, ...options })).rejects.toThrow(message);
  };

  test('options', async () => {
    await refuses({ validationFraction: 1 }, 'validationFraction must be at least 0 and below 1, got 1');
    await refuses({ validationFraction: NaN }, 'got NaN');
    await refuses({ seed: 1.5 }, 'seed must be a whole number from 0 to 2^53 - 1, got 1.5');
  });

  test('a text that cannot be split as asked', async () => {
    await refuses(
      { splitBy: 'document' },
      'splitBy "document" needs at least two different documents, found 1; use splitBy "tail"',
    );
    const same = write('a.jsonl', '{"text":"x"}\n{"text":"x"}\n');
    await refuses({ files: same, splitBy: 'document' }, 'found 2 with the same text');
    await refuses({ files: write('b.jsonl', '{"text":"x"}\n') }, 'cannot be cut: it is too short');
    await refuses({ files: write('c.txt', 'x') }, 'cannot be cut: it is too short');
  });

  test('a character that the tokenizer does not know: the file and the place', async () => {
    const chars = await charTokenizer('abc\n');
    await refuses(
      { files: write('a.txt', 'abc\nabx'), tokenizer: chars },
      /a\.txt: encode: the character "x" \(U\+0078\) at line \d, column \d/,
    );
  });

  test('a dataset of another tokenizer, and a folder without one', async () => {
    using data = await prepared({ files: write('a.txt', lines(100)), tokenizer: bytes });
    expect(() => openDataset(data.folder, { fingerprint: 'f'.repeat(64) })).toThrow(
      /was made with another tokenizer \(fingerprint [0-9a-f]{12}, the one in use has ffffffffffff\); prepare the dataset again/,
    );
    expect(() => openDataset(temporaryFolder())).toThrow(/holds no dataset; prepareDataset makes one/);
  });
});

test('progress reaches all bytes; speed on the State of the Union addresses', async () => {
  const bpe = await trainBpe(sotuTexts(), { vocabSize: 4096 });
  const seen: PrepareProgress[] = [];
  const folder = path.join(temporaryFolder(), 'data');
  const started = performance.now();
  const { meta } = await prepareDataset({
    files: sotuFiles(),
    tokenizer: bpe,
    folder,
    onProgress: (progress) => seen.push(progress),
  });
  const seconds = (performance.now() - started) / 1000;
  const last = seen.at(-1)!;
  expect(last.bytes).toBe(last.totalBytes);
  expect(last.documents).toBe(meta.train.documents + meta.validation.documents);
  expect(meta.validation.tokens / (meta.train.tokens + meta.validation.tokens)).toBeCloseTo(0.1, 2);
  using data = openDataset(folder);
  const batches = createBatches(data.train, { B: 12, T: 64 });
  const read = performance.now();
  for (let step = 0; step < 500; step++) batches.batchAt(step);
  console.log(
    `prepared ${(last.totalBytes / 1e6).toFixed(1)} MB in ${seconds.toFixed(2)} s; ` +
      `a batch of 12 x 64 (${data.train.tokens.access}) in ${(((performance.now() - read) / 500) * 1000).toFixed(0)} µs`,
  );
});
