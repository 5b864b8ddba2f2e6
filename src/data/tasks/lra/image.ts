/**
 * @file Image classification of the Long Range Arena (Tay et al. 2020, arXiv 2011.04006): CIFAR-10 (Krizhevsky 2009), pixel by
 * pixel, grey or in colour (arXiv 2405.04517 table 6: G-Image, RGB-Image). Reads the binary version from disk.
 *
 * A record is a label 0..9 and 3 x 1024 bytes, red, green, blue, each row by row. The five training files are one list: the
 * first 45,000 images to train on, the last 5,000 to validate on; the test file has 10,000. Grey is the luma of BT.601,
 * 0.299 red + 0.587 green + 0.114 blue, rounded. As numbers, pixels are standardised by mean and standard deviation of the
 * training images.
 */
import fs from 'node:fs';
import path from 'node:path';
import * as z from 'zod';
import { defineTask } from '../definition.js';
import type { Example, ExampleSet, Task } from '../task.js';
import { needIn } from './files.js';
import { brightnessOf, drawPixels, pixelExample, pixelInput } from './pixels.js';

const TASK = 'image';

const options = z.strictObject({
  folder: z
    .string()
    .default('data/cifar-10-batches-bin')
    .describe('Where data_batch_1.bin to 5 and test_batch.bin are.'),
  pixels: z
    .enum(['tokens', 'numbers', 'rgb'])
    .default('tokens')
    .describe('Grey as one of 256 tokens, grey as a number, or colour as three numbers.'),
  shrink: z
    .union([z.literal(1), z.literal(2), z.literal(4)])
    .default(1)
    .describe('Squares of so many pixels a side are averaged to one; 1 is the task of the arena.'),
  validationSize: z.number().int().min(1).default(5000).describe('The last training images, to validate on.'),
});

type Options = z.output<typeof options>;

const SIDE = 32;
const PIXELS = SIDE * SIDE;
const RECORD = 1 + 3 * PIXELS;
const TRAIN_FILES = [1, 2, 3, 4, 5].map((k) => `data_batch_${k}.bin`);
const CLASSES = ['airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck'];
/** Shares of red, green and blue in grey. */
const LUMA = [0.299, 0.587, 0.114];
/** Mean and standard deviation of pixels / 255, grey and by colour. */
const GREY = [0.481, 0.239] as const;
const COLOURS = [
  [0.4914, 0.247],
  [0.4822, 0.2435],
  [0.4465, 0.2616],
] as const;

/** All records of files, one after the other: 150 MB for the training images. */
function readRecords(folder: string, names: readonly string[]): Buffer {
  const parts = names.map((name) => {
    const file = needIn(TASK, folder, [name]);
    const bytes = fs.readFileSync(file);
    if (bytes.length === 0 || bytes.length % RECORD !== 0) {
      throw new Error(`${TASK}: ${path.basename(file)} has ${bytes.length} bytes, not whole records of ${RECORD}`);
    }
    return bytes;
  });
  return Buffer.concat(parts);
}

/** Pixel (row, column) of one colour, 0..255, after shrinking. */
function colourAt(record: Buffer, colour: number, pixel: number, shrink: number): number {
  const side = SIDE / shrink;
  const [top, left] = [Math.floor(pixel / side) * shrink, (pixel % side) * shrink];
  let sum = 0;
  for (let y = top; y < top + shrink; y++) {
    for (let x = left; x < left + shrink; x++) sum += record[1 + colour * PIXELS + y * SIDE + x]!;
  }
  return sum / shrink ** 2;
}

function exampleOf(record: Buffer, { pixels, shrink }: Options): Example {
  const label = record[0]!;
  const T = PIXELS / shrink ** 2;
  const at = (colour: number, pixel: number): number => colourAt(record, colour, pixel, shrink);
  if (pixels === 'rgb') {
    const vectors = Float32Array.from({ length: 3 * T }, (_, k) => {
      const [mean, deviation] = COLOURS[k % 3]!;
      return (at(k % 3, Math.floor(k / 3)) / 255 - mean) / deviation;
    });
    return { T, vectors, label };
  }
  const grey = Uint8Array.from({ length: T }, (_, pixel) =>
    Math.round(LUMA.reduce((sum, share, colour) => sum + share * at(colour, pixel), 0)),
  );
  return pixelExample(grey, label, pixels, GREY);
}

function drawExample(example: Example, { pixels, shrink }: Options): string {
  const luma = (pixel: number): number =>
    LUMA.reduce((sum, share, k) => {
      const [mean, deviation] = COLOURS[k]!;
      return sum + share * (example.vectors![3 * pixel + k]! * deviation + mean);
    }, 0);
  const brightness = pixels === 'rgb' ? luma : brightnessOf(example, GREY);
  return `${drawPixels(brightness, SIDE / shrink, SIDE / shrink)}\n->  ${CLASSES[example.label!]}`;
}

function create(chosen: Options): Task {
  const { folder, pixels, shrink, validationSize } = chosen;
  const opened = new Map<string, Buffer>();
  const records = (part: 'train' | 'test'): Buffer => {
    const bytes = opened.get(part) ?? readRecords(folder, part === 'train' ? TRAIN_FILES : ['test_batch.bin']);
    opened.set(part, bytes);
    if (part === 'test' || bytes.length / RECORD > validationSize) return bytes;
    throw new RangeError(`${TASK}: of ${bytes.length / RECORD} training images, ${validationSize} cannot be held out`);
  };
  const setOf = (name: string, bytes: Buffer, from: number, to: number): ExampleSet => ({
    name,
    size: to - from,
    example: (index) => exampleOf(bytes.subarray((from + index) * RECORD, (from + index + 1) * RECORD), chosen),
  });
  const counted = (bytes: Buffer): number => bytes.length / RECORD;
  return {
    name: TASK,
    input: pixels === 'rgb' ? { kind: 'vectors', width: 3 } : pixelInput(pixels),
    output: { kind: 'class', classes: CLASSES.length },
    maxLength: PIXELS / shrink ** 2,
    chance: 1 / CLASSES.length,
    train: () => setOf('train', records('train'), 0, counted(records('train')) - validationSize),
    validation() {
      const all = counted(records('train'));
      return setOf('validation', records('train'), all - validationSize, all);
    },
    tests: () => [setOf('test', records('test'), 0, counted(records('test')))],
    draw: (example) => drawExample(example, chosen),
  };
}

export const imageTask = defineTask({
  name: TASK,
  summary: 'the class of a CIFAR-10 image, pixel by pixel (Long Range Arena, arXiv 2011.04006)',
  files: 'CIFAR-10, binary version: data_batch_1.bin to data_batch_5.bin and test_batch.bin',
  options,
  presets: { paper: {}, small: { shrink: 2 } },
  create,
});
