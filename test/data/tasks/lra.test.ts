/**
 * @file The tasks of the Long Range Arena: expressions by an evaluator of their text, images by flood fill, and files as
 * others write them.
 */
import fs from 'node:fs';
import path from 'node:path';
import { deflateSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { batchOf } from '../../../src/data/tasks/batch.js';
import { LineFile } from '../../../src/data/tasks/lra/files.js';
import { readPng } from '../../../src/data/tasks/lra/png.js';
import { createTask, TASKS, taskOptions } from '../../../src/data/tasks/registry.js';
import type { Example, ExampleSet } from '../../../src/data/tasks/task.js';
import { randomKey } from '../../../src/tensor/random.js';
import { temporaryFolder } from '../../support/folders.js';

const key = randomKey(9);
const all = (set: ExampleSet): Example[] => Array.from({ length: set.size }, (_, n) => set.example(n));
const some = (set: ExampleSet, count: number): Example[] => Array.from({ length: count }, (_, n) => set.example(n));

describe('listops', () => {
  /** The value of an expression, its depth, and how many arguments its operators have. */
  function evaluate(text: string): { value: number; depth: number; widths: number[] } {
    const words = text.split(' ').toReversed();
    const widths: number[] = [];
    let deepest = 0;
    const node = (depth: number): number => {
      deepest = Math.max(deepest, depth);
      const word = words.pop()!;
      if (/^\d$/.test(word)) return Number(word);
      const values: number[] = [];
      while (words.at(-1) !== ']') values.push(node(depth + 1));
      words.pop();
      widths.push(values.length);
      values.sort((a, b) => a - b);
      if (word === '[MIN') return values[0]!;
      if (word === '[MAX') return values.at(-1)!;
      if (word === '[SM') return Number(`${values.reduce((sum, value) => sum + value, 0)}`.at(-1));
      expect(word).toBe('[MED');
      // The smallest and the largest are taken away until one or two are left.
      let inner = values;
      while (inner.length > 2) inner = inner.slice(1, -1);
      return Math.trunc((inner[0]! + inner.at(-1)!) / 2);
    };
    const value = node(1);
    expect(words).toEqual([]);
    return { value, depth: deepest, widths };
  }
  const read = (task: ReturnType<typeof createTask>, example: Example) => task.draw(example).split('  ->  ');

  it('of the published size: value, depth, arguments, more than 500 and less than 2000 tokens', () => {
    const task = createTask('listops', taskOptions('listops', 'paper', {}));
    const examples = some(task.train(key), 40);
    const widths = examples.flatMap((example) => {
      const [text, label] = read(task, example);
      const found = evaluate(text!);
      expect(`${found.value}`).toBe(label);
      expect(found.depth).toBeLessThanOrEqual(10);
      return found.widths;
    });
    expect([Math.min(...widths), Math.max(...widths)]).toEqual([2, 10]);
    const lengths = examples.map(({ T }) => T);
    expect(Math.min(...lengths)).toBeGreaterThan(500);
    expect(Math.max(...lengths)).toBeLessThan(2000);
    expect(task.input).toEqual({ kind: 'tokens', vocabSize: 16 });
    expect([task.maxLength, task.chance]).toEqual([1999, 0.1]);
  });

  it('short ones: every value comes, no tree is in two sets, none comes twice', () => {
    const task = createTask('listops', taskOptions('listops', 'small', {}));
    const sets = [task.train(key), task.validation(key), ...task.tests(key)];
    const texts = sets.flatMap((set) =>
      some(set, 300).map((example) => {
        const [text, label] = read(task, example);
        expect(`${evaluate(text!).value}`).toBe(label);
        expect(example.T).toBe(text!.split(' ').length);
        expect(example.T > 10 && example.T < 100).toBe(true);
        return text;
      }),
    );
    expect(new Set(texts).size).toBe(900);
    expect(new Set(some(sets[0]!, 300).map(({ label }) => label)).size).toBe(10);
    // Sets of another key are cut along the same line.
    const other = new Set(some(task.train(randomKey(10)), 2000).map((example) => read(task, example)[0]));
    expect(texts.slice(300).some((text) => other.has(text))).toBe(false);
  });

  it('refuses lengths that no tree has', () => {
    expect(() => createTask('listops', { moreThan: 10, lessThan: 11 })).toThrow('moreThan = 10');
    const flat = createTask('listops', { maxDepth: 2, maxArguments: 3, moreThan: 50 });
    expect(() => flat.train(key).example(0)).toThrow('raise maxDepth');
  });
});

describe('pathfinder', () => {
  const size = 32;
  const task = createTask('pathfinder');

  /** Whether light joins the two discs, the places where a square of 3 pixels is brightest. */
  function areJoined(tokens: Int32Array): boolean {
    const at = (x: number, y: number): number =>
      Math.min(x, y) < 0 || Math.max(x, y) >= size ? 0 : tokens[y * size + x]!;
    const around = (reach: number) =>
      Array.from({ length: (2 * reach + 1) ** 2 }, (_, k) => [
        (k % (2 * reach + 1)) - reach,
        Math.floor(k / (2 * reach + 1)) - reach,
      ]) as [number, number][];
    const places = Array.from({ length: size * size }, (_, k) => [k % size, Math.floor(k / size)] as const);
    const light = ([x, y]: readonly [number, number]): number =>
      around(1).reduce((sum, [dx, dy]) => sum + at(x + dx, y + dy), 0);
    const lights = new Map(places.map((place) => [place, light(place)]));
    const bright = places.toSorted((a, b) => lights.get(b)! - lights.get(a)!);
    const first = bright[0]!;
    const second = bright.find(([x, y]) => Math.hypot(x - first[0], y - first[1]) > 3)!;
    const seen = new Set([first[1] * size + first[0]]);
    for (const place of seen) {
      for (const [dx, dy] of around(1)) {
        const [x, y] = [(place % size) + dx, Math.floor(place / size) + dy];
        if (at(x, y) >= 60) seen.add(y * size + x);
      }
    }
    return seen.has(second[1] * size + second[0]);
  }

  it('discs of connected images are always joined by light, of others seldom', () => {
    const examples = some(task.train(key), 200);
    expect(examples.filter(({ label }) => label === 1)).toHaveLength(100);
    const joined = examples.map((example) => [example.label, areJoined(example.tokens!)] as const);
    expect(joined.filter(([label, is]) => label === 1 && is).length).toBeGreaterThanOrEqual(99);
    // Curves may come as near to each other as dashes of one curve.
    expect(joined.filter(([label, is]) => label === 0 && is).length).toBeLessThan(40);
  });

  it('has 1024 steps of 256 tokens, or of one number', () => {
    const [tokens, numbers] = ['tokens', 'numbers'].map((pixels) => createTask('pathfinder', { pixels }));
    expect(tokens!.input).toEqual({ kind: 'tokens', vocabSize: 256 });
    expect(numbers!.input).toEqual({ kind: 'vectors', width: 1 });
    const [a, b] = [tokens!, numbers!].map((t) => t.train(key).example(5));
    expect([a!.T, b!.T]).toEqual([1024, 1024]);
    expect([...b!.vectors!].map((x) => Math.round((255 * (x + 1)) / 2))).toEqual([...a!.tokens!]);
    expect(numbers!.draw(b!)).toBe(tokens!.draw(a!));
    expect(a!.tokens!.filter((pixel) => pixel > 128).length).toBeGreaterThan(60);
  });

  it('refuses curves that do not fit', () => {
    const crowded = createTask('pathfinder', { size: 12, contourLength: 30 });
    expect(() => crowded.train(key).example(0)).toThrow('did not fit into 12 x 12');
  });

  /** A grey PNG file whose rows use the five filters in turn. */
  function png(pixels: Uint8Array, side: number): Buffer {
    const at = (x: number, y: number): number => (x < 0 || y < 0 ? 0 : pixels[y * side + x]!);
    const predictions = [
      () => 0,
      (x: number, y: number) => at(x - 1, y),
      (x: number, y: number) => at(x, y - 1),
      (x: number, y: number) => (at(x - 1, y) + at(x, y - 1)) >> 1,
      (x: number, y: number) => {
        const [a, b, c] = [at(x - 1, y), at(x, y - 1), at(x - 1, y - 1)];
        return [a, b, c].reduce((best, next) =>
          Math.abs(a + b - c - next) < Math.abs(a + b - c - best) ? next : best,
        );
      },
    ];
    const rows = Array.from({ length: side }, (_, y) => [
      y % 5,
      ...Array.from({ length: side }, (__, x) => (at(x, y) - predictions[y % 5]!(x, y)) & 255),
    ]).flat();
    const chunk = (type: string, content: Buffer): Buffer => {
      const frame = Buffer.alloc(12 + content.length);
      frame.writeUInt32BE(content.length, 0);
      frame.write(type, 4);
      content.copy(frame, 8);
      return frame;
    };
    const header = Buffer.from([0, 0, 0, side, 0, 0, 0, side, 8, 0, 0, 0, 0]);
    const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
    const data = deflateSync(Buffer.from(rows));
    return Buffer.concat([
      signature,
      chunk('IHDR', header),
      chunk('IDAT', data.subarray(0, 7)),
      chunk('IDAT', data.subarray(7)),
      chunk('IEND', Buffer.alloc(0)),
    ]);
  }

  it('reads images as they are released', () => {
    const folder = temporaryFolder();
    const images = some(task.train(key), 30);
    const lines: string[][] = [[], []];
    images.forEach(({ tokens, label }, n) => {
      const part = n % 2;
      fs.mkdirSync(path.join(folder, `imgs/${part}`), { recursive: true });
      const file = `sample_${n}.png`;
      fs.writeFileSync(path.join(folder, `imgs/${part}`, file), png(Uint8Array.from(tokens!), size));
      lines[part]!.push(`imgs/${part} ${file} ${n} ${label} 0.5 14 3`);
    });
    fs.writeFileSync(path.join(folder, 'imgs/0/sample_172.png'), '');
    lines[0]!.push('imgs/0 sample_172.png 172 1 0.5 14 3');
    fs.mkdirSync(path.join(folder, 'metadata'));
    lines.forEach((rows, k) => fs.writeFileSync(path.join(folder, `metadata/${k}.npy`), `${rows.join('\n')}\n`));

    const read = createTask('pathfinder', { folder });
    const sets = [read.train(key), read.validation(randomKey(1)), ...read.tests(key)];
    expect(sets.map((set) => set.size)).toEqual([24, 3, 3]);
    const text = (example: Example): string => `${example.label} ${[...example.tokens!].join()}`;
    expect(sets.flatMap(all).map(text).sort()).toEqual(images.map(text).sort());
    const small = createTask('pathfinder', { folder, size: 16 });
    expect(() => small.train(key).example(0)).toThrow('is 32 x 32, the option size says 16');
  });

  it('reads PNG files of another program, and says which it does not read', () => {
    const files = {
      grey: 'iVBORw0KGgoAAAANSUhEUgAAAAcAAAAGCAAAAAAqZduqAAAAL0lEQVR4AWNkUAUDJm4BUSl5FU0mRTVtA1MrexZzEyAIMGHxtbS0TLS0ZBS2AwMAnnEH0Es4l6sAAAAASUVORK5CYII=',
      rgb: 'iVBORw0KGgoAAAANSUhEUgAAAAcAAAAGCAIAAACAbBMhAAAAj0lEQVR4AQGEAHv/AQAACSVvAyVvAyVvAyVvAyVvAyVvAwQLIU0QMCYVPyYafiYfXSYkfiYpeyIDJ3QSK4AqLYc7MI9NMpbeNZ5wN6WBAjelgTy0pEHDx0bS6kvhDVDwMFX/UwN//HpGUedI2HjLYApNZ5tQ7y1Sdr4DuzEi03nFVgFXWAjoW5D63ZeLYB+dxTkvUsGGw2QAAAAASUVORK5CYII=',
      rgba: 'iVBORw0KGgoAAAANSUhEUgAAAAcAAAAGCAYAAAAPDoR2AAAAuUlEQVR4AQGuAFH/AQAACf8lbwMAJW8DACVvAwAlbwMAJW8DACVvAwAECyFNABAwJgAVPyYAGn4mAB9dJgAkfiYAKXsiAAQhY+cAJnIwACuNLQAvjUkAL59JAC+NlgA/vUkAAjelgQA8tKQAQcPHAEbS6gBL4Q0AUPAwAFX/UwAETecbADn2PgA5BWEAORTwAGGrjwA5MjYAOUHtAAO7MSKA03nFAFYBVwBYCOgAW5D6AN2XiwBgH50AU8YulSfqeYkAAAAASUVORK5CYII=',
    };
    for (const [kind, base64] of Object.entries(files)) {
      const { width, height, pixels } = readPng(Buffer.from(base64, 'base64'), kind);
      expect([width, height]).toEqual([7, 6]);
      const expected = Array.from({ length: 42 }, (_, k) => {
        const [x, y] = [k % 7, Math.floor(k / 7)];
        const v = (x * 37 + y * y * 11 + x * y * 5) % 256;
        return kind === 'grey' ? v : Math.round(0.299 * v + 0.587 * ((v * 3) % 256) + 0.114 * ((v * 7 + 9) % 256));
      });
      expect([...pixels], kind).toEqual(expected);
    }
    const deep = Buffer.from(files.grey, 'base64');
    deep[24] = 16;
    expect(() => readPng(deep, 'deep.png')).toThrow('deep.png has 16 bits');
    expect(() => readPng(Buffer.from('GIF89a'), 'a.gif')).toThrow('a.gif is not a PNG file');
  });
});

describe('image', () => {
  const RECORD = 3073;
  /** CIFAR-10 files of a few images: the label, then three planes. */
  function folderOf(records: number): { folder: string; bytes: Buffer } {
    const folder = temporaryFolder();
    const bytes = Buffer.alloc(6 * records * RECORD);
    for (let k = 0; k < bytes.length; k++) bytes[k] = (k * 2654435761) >>> 24;
    for (let k = 0; k < 6 * records; k++) bytes[k * RECORD] = k % 10;
    const names = [1, 2, 3, 4, 5].map((k) => `data_batch_${k}.bin`).concat('test_batch.bin');
    names.forEach((name, k) =>
      fs.writeFileSync(path.join(folder, name), bytes.subarray(k * records * RECORD, (k + 1) * records * RECORD)),
    );
    return { folder, bytes };
  }

  it('reads the binary version: grey tokens, grey numbers, colours', () => {
    const { folder, bytes } = folderOf(4);
    const make = (pixels: string) => createTask('image', { folder, pixels, validationSize: 3 });
    const sets = [make('tokens').train(key), make('tokens').validation(key), ...make('tokens').tests(key)];
    expect(sets.map((set) => set.size)).toEqual([17, 3, 4]);
    const pixel = (image: number, colour: number, at: number): number =>
      bytes[image * RECORD + 1 + colour * 1024 + at]!;
    sets.flatMap(all).forEach(({ T, tokens, label }, image) => {
      expect([T, label]).toEqual([1024, image % 10]);
      for (const at of [0, 31, 32, 1023]) {
        const luma = 0.299 * pixel(image, 0, at) + 0.587 * pixel(image, 1, at) + 0.114 * pixel(image, 2, at);
        expect(tokens![at]).toBe(Math.round(luma));
      }
    });
    const rgb = make('rgb').train(key).example(2);
    expect(rgb.vectors).toHaveLength(3 * 1024);
    expect(rgb.vectors![3 * 40 + 1]).toBeCloseTo((pixel(2, 1, 40) / 255 - 0.4822) / 0.2435, 4);
    const grey = make('numbers').train(key).example(2);
    expect(grey.vectors![40]).toBeCloseTo((sets[0]!.example(2).tokens![40]! / 255 - 0.481) / 0.239, 4);
    expect(make('rgb').draw(rgb)).toMatch(/->  bird$/);
  });

  it('shrinks by averaging squares', () => {
    const { folder, bytes } = folderOf(1);
    const [tokens] = all(createTask('image', { folder, shrink: 2, validationSize: 1 }).train(key)).map(
      (e) => e.tokens!,
    );
    expect(tokens).toHaveLength(256);
    const square = (colour: number): number =>
      [0, 1, 32, 33].reduce((sum, at) => sum + bytes[1 + colour * 1024 + 2 * 32 + 6 + at]!, 0) / 4;
    expect(tokens![16 + 3]).toBe(Math.round(0.299 * square(0) + 0.587 * square(1) + 0.114 * square(2)));
  });

  it('says what is missing or damaged', () => {
    expect(() => createTask('image', { folder: temporaryFolder() }).train(key)).toThrow('no data_batch_1.bin in');
    const { folder } = folderOf(1);
    fs.truncateSync(path.join(folder, 'test_batch.bin'), 3000);
    expect(() => createTask('image', { folder }).tests(key)).toThrow('test_batch.bin has 3000 bytes');
    expect(() => createTask('image', { folder }).train(key)).toThrow('of 5 training images, 5000 cannot be held out');
  });
});

describe('textClassification', () => {
  const textsOf = (task: ReturnType<typeof createTask>, set: ExampleSet): string[] =>
    all(set).map((example) => task.draw(example));

  it('reads lines of label and text, and holds out the same ones for every key', () => {
    const folder = temporaryFolder();
    const lines = Array.from({ length: 20 }, (_, k) => `${k % 2 === 0 ? 'neg' : 'pos'}\ttext ${k}\twith é`);
    fs.writeFileSync(path.join(folder, 'train.tsv'), lines.join('\n'));
    fs.writeFileSync(path.join(folder, 'test.tsv'), 'pos\tfine\r\nneg\tbad\r\n');
    const task = createTask('textClassification', { folder });
    const [train, validation] = [textsOf(task, task.train(key)), textsOf(task, task.validation(key))];
    expect([train.length, validation.length]).toEqual([18, 2]);
    const expected = lines.map((line) => `${line.slice(4)}  ->  ${line.slice(0, 3)}`);
    expect([...train, ...validation].sort()).toEqual(expected.sort());
    expect(textsOf(task, task.validation(randomKey(77)))).toEqual(validation);
    expect(textsOf(task, task.tests(key)[0]!).sort()).toEqual(['bad  ->  neg', 'fine  ->  pos']);
    const { tokens } = task.tests(key)[0]!.example(0);
    expect(Math.min(...tokens!)).toBeGreaterThan(0);
    expect(all(createTask('textClassification', { folder, maxLength: 6 }).train(key)).map(({ T }) => T)).toEqual(
      Array.from({ length: 18 }, () => 6),
    );
  });

  it('reads a folder per class, with a validation part of its own, and mixes the classes', () => {
    const folder = temporaryFolder();
    for (const part of ['train', 'validation', 'test']) {
      for (const label of ['neg', 'pos', 'unsup']) {
        fs.mkdirSync(path.join(folder, part, label), { recursive: true });
        for (let k = 0; k < 10; k++)
          fs.writeFileSync(path.join(folder, part, label, `${k}_7.txt`), `${part} ${label} ${k}`);
      }
    }
    const task = createTask('textClassification', { folder });
    const sets = [task.train(key), task.validation(key), ...task.tests(key)];
    expect(sets.map((set) => [set.name, set.size])).toEqual([
      ['train', 20],
      ['validation', 20],
      ['test', 20],
    ]);
    for (const set of sets) {
      for (const text of textsOf(task, set))
        expect(text).toMatch(new RegExp(`^${set.name} (neg|pos) \\d {2}-> {2}\\1$`));
      expect(new Set(textsOf(task, set)).size).toBe(20);
      expect(new Set(some(set, 10).map(({ label }) => label)).size).toBe(2);
    }
  });

  it('says which line is wrong, and what is not there', () => {
    const folder = temporaryFolder();
    fs.writeFileSync(path.join(folder, 'train.tsv'), 'neg\ta\n\nmaybe\tb\nneg\t\npos\tc');
    const task = createTask('textClassification', { folder, heldOut: 0.01 });
    expect(() => all(task.train(key)).concat(all(task.validation(key)))).toThrow(/line [23] that is not empty must be/);
    expect(() => task.tests(key)).toThrow('no test.tsv or test in');
  });
});

describe('retrieval', () => {
  it('reads pairs of three and of five cells, as batches with two documents', () => {
    const folder = temporaryFolder();
    fs.writeFileSync(path.join(folder, 'train.tsv'), '1\tabc\tdefgh\n0.0\tij\tk\n');
    fs.writeFileSync(path.join(folder, 'new_aan_pairs.eval.tsv'), '1.0\tP05\tP06\tfirst text\tsecond\ttext\n');
    fs.writeFileSync(path.join(folder, 'test.tsv'), '2\ta\tb\n');
    const task = createTask('retrieval', { folder });
    expect(task.output).toEqual({ kind: 'class', classes: 2, towers: 2 });
    const [train, validation, test] = [task.train(key), task.validation(key), task.tests(key)[0]!];
    expect(all(train).map(task.draw)).toEqual(['abc\ndefgh\n->  1', 'ij\nk\n->  0']);
    expect(all(validation).map(task.draw)).toEqual(['first text\nsecond\ttext\n->  1']);
    expect(() => test.example(0)).toThrow('test.tsv, line 1 that is not empty must be a label (0 or 1)');
    const { T, tokens, labels, second } = batchOf(all(train));
    expect([T, second!.T, [...labels!]]).toEqual([3, 5, [1, 0]]);
    expect([...tokens!]).toEqual([...'abc', ...'ij'].map((c) => 1 + c.charCodeAt(0)).concat(0));
    expect([...second!.lengths]).toEqual([5, 1]);
    expect([...second!.reset]).toEqual([1, 0, 0, 0, 0, 1, 1, 0, 0, 0]);
  });
});

it('lines of a file longer than what is read at once are found', () => {
  const file = path.join(temporaryFolder(), 'long.txt');
  const lines = ['a'.repeat(1_500_000), '', 'b', 'c'.repeat(700_000), 'd'];
  fs.writeFileSync(file, lines.join('\n'));
  const found = new LineFile(file);
  expect(Array.from({ length: found.length }, (_, k) => found.line(k).toString())).toEqual(
    lines.filter((x) => x !== ''),
  );
});

it('tasks that read files say so', () => {
  const reading = [...TASKS.values()].filter(({ files }) => files !== undefined).map(({ name }) => name);
  expect(reading).toEqual(['retrieval', 'image', 'textClassification']);
});
