/**
 * @file Byte-level text classification of the Long Range Arena (Tay et al. 2020, arXiv 2011.04006): the class of a text, read
 * byte by byte. The arena takes film reviews (Maas et al. 2011); any labelled texts will do. Read from disk, never made.
 *
 * A part (train, test; validation is cut from train where it is not there) is either a file `train.tsv` with a line per text,
 * label, tab, text; or a folder `train/` with a folder per label and a text per file, which is how the reviews come.
 */
import fs from 'node:fs';
import path from 'node:path';
import * as z from 'zod';
import { permute } from '../../permutation.js';
import { fold, randomKey } from '../../../tensor/random.js';
import { defineTask } from '../definition.js';
import type { Example, ExampleSet, Task } from '../task.js';
import { BYTE_VOCAB, byteTokens, cellsOf, findIn, LineFile, needIn, type Part, splitIndices, textOf } from './files.js';

const TASK = 'textClassification';

const options = z.strictObject({
  folder: z
    .string()
    .default('data/aclImdb')
    .describe('Where train.tsv and test.tsv, or the folders train and test, are.'),
  labels: z
    .array(z.string())
    .min(2)
    .default(['neg', 'pos'])
    .describe('Names of the classes: what stands before the tab, or the folders of the texts.'),
  maxLength: z.number().int().min(1).default(4000).describe('Bytes of a text that are read; the rest is left out.'),
  heldOut: z
    .number()
    .gt(0)
    .lt(1)
    .default(0.1)
    .describe('Share of the training texts to validate on if there are no others.'),
});

const MIXED = fold(randomKey(0), 'mixed classes');

type Options = z.output<typeof options>;

/** Labelled texts by number. */
interface Texts {
  readonly length: number;
  at(index: number): { readonly label: number; readonly text: Buffer };
}

function openTexts(place: string, labels: readonly string[]): Texts {
  return fs.statSync(place).isDirectory() ? textsOfFolder(place, labels) : textsOfLines(place, labels);
}

function textsOfLines(file: string, labels: readonly string[]): Texts {
  const lines = new LineFile(file);
  return {
    length: lines.length,
    at(index) {
      const [name, text] = cellsOf(lines.line(index), 2);
      const label = labels.indexOf(name!.toString('utf8'));
      if (label !== -1 && text !== undefined && text.length > 0) return { label, text };
      throw new Error(`${TASK}: ${lines.where(index)} must be one of ${labels.join(', ')}, a tab and a text`);
    },
  };
}

function textsOfFolder(folder: string, labels: readonly string[]): Texts {
  const files = labels.flatMap((name, label) => {
    const own = needIn(TASK, folder, [name]);
    return fs
      .readdirSync(own)
      .sort()
      .map((file) => ({ label, file: path.join(own, file) }));
  });
  return {
    length: files.length,
    at(index) {
      const { label, file } = files[index]!;
      const text = fs.readFileSync(file);
      if (text.length === 0) throw new Error(`${TASK}: ${file} is empty; remove it`);
      return { label, text };
    },
  };
}

function create({ folder, labels, maxLength, heldOut }: Options): Task {
  const opened = new Map<string, Texts>();
  const open = (place: string): Texts => {
    const texts = opened.get(place) ?? openTexts(place, labels);
    if (texts.length < 2) throw new Error(`${TASK}: ${place} has ${texts.length} texts; at least two are needed`);
    opened.set(place, texts);
    return texts;
  };
  const needed = (part: Part): Texts => open(needIn(TASK, folder, [`${part}.tsv`, part]));
  // In an order that mixes the classes, since a bounded look at a set takes its first examples.
  const setOf = (
    name: string,
    texts: Texts,
    size = texts.length,
    place = (index: number): number => permute(MIXED, index, texts.length),
  ): ExampleSet => ({
    name,
    size,
    example(index): Example {
      const { label, text } = texts.at(place(index));
      const tokens = byteTokens(text, maxLength);
      return { T: tokens.length, tokens, label };
    },
  });
  const own = (): Texts | null => {
    const place = findIn(folder, ['validation.tsv', 'validation']);
    return place === null ? null : open(place);
  };
  return {
    name: TASK,
    input: { kind: 'tokens', vocabSize: BYTE_VOCAB },
    output: { kind: 'class', classes: labels.length },
    maxLength,
    chance: 1 / labels.length,
    train() {
      const texts = needed('train');
      const split = splitIndices(texts.length, heldOut);
      return own() === null
        ? setOf('train', texts, texts.length - split.validationSize, split.train)
        : setOf('train', texts);
    },
    validation() {
      const texts = own();
      if (texts !== null) return setOf('validation', texts);
      const split = splitIndices(needed('train').length, heldOut);
      return setOf('validation', needed('train'), split.validationSize, split.validation);
    },
    tests: () => [setOf('test', needed('test'))],
    draw: ({ tokens, label }) => `${textOf(tokens!)}  ->  ${labels[label!]}`,
  };
}

export const textClassificationTask = defineTask({
  name: TASK,
  summary: 'the class of a text read byte by byte (Long Range Arena, arXiv 2011.04006)',
  files: 'labelled texts: train.tsv and test.tsv, or a folder per class as film reviews come',
  options,
  presets: { paper: {}, small: { maxLength: 512 } },
  create,
});
