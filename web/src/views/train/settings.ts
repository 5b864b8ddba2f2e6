/** @file The numbers of the Train view: their choices, what is kept of them between visits, and what is wrong with them. */
import type { Letter, TrainSettings } from '../../protocol.js';

export const WIDTHS = [32, 64, 96, 128, 192, 256, 384, 512] as const;
export const CONTEXTS = [32, 64, 128, 256, 512, 1024] as const;
export const BATCHES = [1, 2, 4, 8, 16, 32, 64] as const;
export const MOST_BLOCKS = 12;

/** Small enough for a GPU in software, and large enough for words to appear. */
const DEFAULTS: TrainSettings = {
  blocks: ['m', 's'],
  dim: 64,
  contextLength: 64,
  batchSize: 8,
  learningRate: 0.005,
  steps: 1000,
  seed: 1,
  tokenizer: 'bytes',
};

const KEY = 'xlstm-playground-settings';

/** Those of the last visit, else the defaults. */
export function keptSettings(): TrainSettings {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? '{}') as Partial<TrainSettings>;
    const settings = { ...DEFAULTS, ...kept };
    return problemOf(settings) === null ? settings : DEFAULTS;
  } catch {
    return DEFAULTS; // storage is off, or was written by something else
  }
}

export function keepSettings(settings: TrainSettings): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // storage is off: the next visit begins with the defaults
  }
}

const LETTERS: readonly Letter[] = ['m', 's', 'l'];

/** What is wrong with them, in a sentence; null where nothing is. */
export function problemOf({
  blocks,
  dim,
  contextLength,
  batchSize,
  learningRate,
  steps,
  seed,
}: TrainSettings): string | null {
  if (!Array.isArray(blocks) || blocks.length === 0) return 'Add at least one block.';
  if (!blocks.every((letter) => LETTERS.includes(letter)) || blocks.length > MOST_BLOCKS)
    return `Use up to ${MOST_BLOCKS} blocks.`;
  if (!isOneOf(WIDTHS, dim) || !isOneOf(CONTEXTS, contextLength) || !isOneOf(BATCHES, batchSize))
    return 'Choose width, context and batch from the lists.';
  if (!(learningRate > 0 && learningRate <= 1)) return 'The learning rate is a number above 0 and at most 1.';
  if (!(Number.isInteger(steps) && steps >= 1 && steps <= 1_000_000))
    return 'Steps are a whole number from 1 to 1,000,000.';
  if (!(Number.isInteger(seed) && seed >= 0 && seed < 2 ** 31)) return 'The seed is a whole number from 0 on.';
  return null;
}

const isOneOf = (choices: readonly number[], value: number): boolean => choices.includes(value);
