/**
 * @file Byte-level document retrieval of the Long Range Arena (Tay et al. 2020, arXiv 2011.04006): whether one of two papers
 * cites the other. Both are read byte by byte by one model; what it makes of them is compared. Read from disk, never made.
 *
 * A part is a file with a line per pair: label, first text, second text, with tabs between; or, as the arena has it, label,
 * two names, two texts. A label is 0 or 1, also written 0.0 or 1.0.
 */
import * as z from 'zod';
import { defineTask } from '../definition.js';
import type { Example, ExampleSet, Task } from '../task.js';
import { BYTE_VOCAB, byteTokens, cellsOf, LineFile, needIn, type Part, textOf } from './files.js';

const TASK = 'retrieval';

const options = z.strictObject({
  folder: z
    .string()
    .default('data/lra_release/tsv_data')
    .describe('Where train.tsv, validation.tsv and test.tsv are, or new_aan_pairs.{train,eval,test}.tsv.'),
  maxLength: z.number().int().min(1).default(4000).describe('Bytes of each text that are read; the rest is left out.'),
});

type Options = z.output<typeof options>;

const FILES: Readonly<Record<Part, readonly string[]>> = {
  train: ['train.tsv', 'new_aan_pairs.train.tsv'],
  validation: ['validation.tsv', 'new_aan_pairs.eval.tsv'],
  test: ['test.tsv', 'new_aan_pairs.test.tsv'],
};

/** The two texts and the label of a line. A fifth cell means that the second and third are names. */
function pairOf(line: Buffer, where: string): { label: number; texts: [Buffer, Buffer] } {
  const cells = cellsOf(line, 5);
  const texts = cells.length === 5 ? cells.slice(3) : cells.slice(1);
  const label = Number(cells[0]!.toString('latin1'));
  if (texts.length === 2 && texts.every((text) => text.length > 0) && (label === 0 || label === 1)) {
    return { label, texts: texts as [Buffer, Buffer] };
  }
  throw new Error(
    `${TASK}: ${where} must be a label (0 or 1) and two texts, or a label, two names and two texts, with tabs between`,
  );
}

function create({ folder, maxLength }: Options): Task {
  const opened = new Map<Part, LineFile>();
  const setOf = (part: Part): ExampleSet => {
    const lines = opened.get(part) ?? new LineFile(needIn(TASK, folder, FILES[part]));
    opened.set(part, lines);
    return {
      name: part,
      size: lines.length,
      example(index): Example {
        const { label, texts } = pairOf(lines.line(index), lines.where(index));
        const [tokens, second] = texts.map((text) => byteTokens(text, maxLength)) as [Int32Array, Int32Array];
        return { T: tokens.length, tokens, second, label };
      },
    };
  };
  return {
    name: TASK,
    input: { kind: 'tokens', vocabSize: BYTE_VOCAB },
    output: { kind: 'class', classes: 2, towers: 2 },
    maxLength,
    chance: 1 / 2,
    train: () => setOf('train'),
    validation: () => setOf('validation'),
    tests: () => [setOf('test')],
    draw: ({ tokens, second, label }) => `${textOf(tokens!)}\n${textOf(second!)}\n->  ${label}`,
  };
}

export const retrievalTask = defineTask({
  name: TASK,
  summary: 'whether one of two papers cites the other, both read byte by byte (Long Range Arena, arXiv 2011.04006)',
  files: 'pairs of texts with a label: train.tsv, validation.tsv, test.tsv, or those of the arena',
  options,
  presets: { paper: {}, small: { maxLength: 512 } },
  create,
});
