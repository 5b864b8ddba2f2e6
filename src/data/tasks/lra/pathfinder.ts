/**
 * @file Pathfinder of the Long Range Arena (Linsley et al. 2018, arXiv 1805.08315; Tay et al. 2020, arXiv 2011.04006): whether
 * two discs are joined by a dashed curve, pixel by pixel. Images are made by own rules (`dashed-curves.ts`), or read from the
 * released ones, which are made by another program: results on one are not results on the other.
 *
 * Half of the images that are made are connected, those with an even number. The released ones lie in a folder for each
 * length of curve: `metadata/N.npy` is text with a line per image, folder, file, number, label and more; `imgs/N/` has the
 * PNG files. Files that are empty are left out (one of the released is). Of all images, in the order of their number, the first
 * 80 % in a fixed random order are to train on, 10 % to validate on, 10 % to test on.
 */
import fs from 'node:fs';
import path from 'node:path';
import * as z from 'zod';
import { permute } from '../../permutation.js';
import { fold, randomKey, type RandomKey } from '../../../tensor/random.js';
import { defineTask } from '../definition.js';
import { Draws } from '../draws.js';
import type { ExampleSet, Task } from '../task.js';
import { drawCurves } from './dashed-curves.js';
import { needIn } from './files.js';
import { brightnessOf, drawPixels, pixelExample, pixelInput, pixelReading } from './pixels.js';
import { readPng } from './png.js';

const TASK = 'pathfinder';
const count = () => z.number().int().min(1);

const options = z.strictObject({
  size: count().min(12).default(32).describe('Pixels of a side; a sequence has the square of it.'),
  contourLength: count().min(3).default(14).describe('Dashes of a long curve; 14 is the hard set of the arena.'),
  distractors: z.number().int().min(0).default(6).describe('Short curves to distract, as many as fit of these.'),
  pixels: pixelReading(),
  trainSize: count().default(160_000).describe('Images to train on.'),
  validationSize: count().default(20_000).describe('Images to validate on, and as many to test on.'),
  folder: z
    .string()
    .nullable()
    .default(null)
    .describe('A folder of released images, with imgs and metadata in it, to read instead; null: they are made.'),
});

type Options = z.output<typeof options>;

/** Pixels / 255 are around 0.1; as numbers they go from -1 to 1. */
const SCALE = [0.5, 0.5] as const;

function generated(name: string, size: number, key: RandomKey, chosen: Options): ExampleSet {
  const curves = { ...chosen, distractorLength: Math.max(2, Math.round(chosen.contourLength / 4)) };
  return {
    name,
    size,
    example(index) {
      const label = 1 - (index % 2);
      const image = drawCurves(new Draws(fold(key, index)), label === 1, curves);
      return pixelExample(image, label, chosen.pixels, SCALE);
    },
  };
}

interface Listed {
  readonly file: string;
  readonly label: number;
}

/** The images that the metadata of a folder lists, less the empty ones. */
function listImages(folder: string): Listed[] {
  const metadata = needIn(TASK, folder, ['metadata']);
  const names = fs.readdirSync(metadata).sort((a, b) => parseInt(a, 10) - parseInt(b, 10) || (a < b ? -1 : 1));
  const listed = names.flatMap((name) =>
    fs
      .readFileSync(path.join(metadata, name), 'utf8')
      .split('\n')
      .filter((line) => line.trim() !== '')
      .map((line): Listed => {
        const [place, file, , label] = line.trim().split(/\s+/);
        if (file !== undefined && (label === '0' || label === '1')) {
          return { file: path.join(folder, place!, file), label: Number(label) };
        }
        throw new Error(`${TASK}: metadata/${name}: "${line}" must be folder, file, number and label (0 or 1)`);
      }),
  );
  const found = listed.filter(({ file }) => (fs.statSync(file, { throwIfNoEntry: false })?.size ?? 0) > 0);
  if (found.length >= 10) return found;
  throw new Error(
    `${TASK}: of ${listed.length} images that the metadata in ${folder} lists, ${found.length} are there`,
  );
}

/** Which images a part has: where it begins and how many, in a random order that is the same for every run. */
function released(folder: string, chosen: Options): (name: 'train' | 'validation' | 'test') => ExampleSet {
  const images = listImages(folder);
  const tenth = Math.floor(images.length / 10);
  const parts = {
    train: [2 * tenth, images.length - 2 * tenth],
    validation: [0, tenth],
    test: [tenth, tenth],
  } as const;
  const key = fold(randomKey(0), 'released images');
  return (name) => {
    const [from, size] = parts[name];
    return {
      name,
      size,
      example(index) {
        const { file, label } = images[permute(key, from + index, images.length)]!;
        const { width, height, pixels } = readPng(fs.readFileSync(file), file);
        if (width === chosen.size && height === chosen.size) return pixelExample(pixels, label, chosen.pixels, SCALE);
        throw new RangeError(`${TASK}: ${file} is ${width} x ${height}, the option size says ${chosen.size}`);
      },
    };
  };
}

function create(chosen: Options): Task {
  const { size, pixels, trainSize, validationSize, folder } = chosen;
  let opened: ReturnType<typeof released> | null = null;
  const setOf = (name: 'train' | 'validation' | 'test', count: number, key: RandomKey): ExampleSet => {
    if (folder === null) return generated(name, count, fold(key, name), chosen);
    opened ??= released(folder, chosen);
    return opened(name);
  };
  return {
    name: TASK,
    input: pixelInput(pixels),
    output: { kind: 'class', classes: 2 },
    maxLength: size * size,
    chance: 1 / 2,
    train: (key) => setOf('train', trainSize, key),
    validation: (key) => setOf('validation', validationSize, key),
    tests: (key) => [setOf('test', validationSize, key)],
    draw: (example) => {
      const image = drawPixels(brightnessOf(example, SCALE), size, size);
      return `${image}\n->  ${example.label === 1 ? 'connected' : 'not connected'}`;
    },
  };
}

export const pathfinderTask = defineTask({
  name: TASK,
  summary: 'whether a dashed curve joins two discs, pixel by pixel (Long Range Arena, arXiv 2011.04006)',
  options,
  presets: {
    paper: {},
    small: { size: 16, contourLength: 5, distractors: 2, trainSize: 20_000, validationSize: 500 },
  },
  create,
});
