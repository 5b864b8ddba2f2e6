/**
 * @file Model configurations by name: small ones for a laptop, and the published sizes of arXiv 2405.04517 (table of
 * sizes and sLSTM positions, appendix B.2), whose parameter counts a test holds to the published numbers.
 */
import type { MixerName } from '../mixers/registry.js';
import { suggestion } from './check-config.js';
import type { ModelConfigInput } from './config.js';

/** Blocks of which those at the given positions (from 0) are sLSTM, the others mLSTM. */
const blocks = (count: number, slstmAt: readonly number[] | 'all'): MixerName[] =>
  Array.from({ length: count }, (_, k) => (slstmAt === 'all' || slstmAt.includes(k) ? 'slstm' : 'mlstm'));

const odd = (count: number): number[] => Array.from({ length: Math.floor(count / 2) }, (_, k) => 2 * k + 1);

interface Size {
  readonly dim: number;
  readonly count: number;
  /** Positions of the sLSTM blocks in xLSTM[7:1]; at the published sizes as published. */
  readonly slstmAt: readonly number[];
  readonly vocabSize?: number;
}

/** GPT-2's vocabulary, padded, as in the paper. */
const PAPER_VOCABULARY = 50304;
const SIX = [3, 5, 7, 40, 42, 44];

const SIZES: Readonly<Record<string, Size>> = {
  tiny: { dim: 64, count: 2, slstmAt: [1] },
  small: { dim: 128, count: 4, slstmAt: [1] },
  base: { dim: 256, count: 8, slstmAt: [1] },
  '125m': { dim: 768, count: 24, slstmAt: [3, 20], vocabSize: PAPER_VOCABULARY },
  '350m': { dim: 1024, count: 48, slstmAt: SIX, vocabSize: PAPER_VOCABULARY },
  '760m': { dim: 1536, count: 48, slstmAt: SIX, vocabSize: PAPER_VOCABULARY },
  '1.3b': { dim: 2048, count: 48, slstmAt: SIX, vocabSize: PAPER_VOCABULARY },
};

const RATIOS: Readonly<Record<string, (size: Size) => readonly number[] | 'all'>> = {
  '1:0': () => [],
  '0:1': () => 'all',
  '1:1': ({ count }) => odd(count),
  '7:1': ({ slstmAt }) => slstmAt,
};

/** xLSTM Large at the sizes of its scaling study and of xLSTM-7B (arXiv 2503.13427), and two for a laptop. */
const LARGE: Readonly<Record<string, { dim: number; count: number; heads: number; vocabSize?: number }>> = {
  tiny: { dim: 64, count: 2, heads: 2 },
  small: { dim: 128, count: 4, heads: 4 },
  base: { dim: 256, count: 8, heads: 4 },
  '165m': { dim: 768, count: 12, heads: 4, vocabSize: PAPER_VOCABULARY },
  '1.3b': { dim: 2048, count: 24, heads: 4, vocabSize: PAPER_VOCABULARY },
  '7b': { dim: 4096, count: 32, heads: 8, vocabSize: PAPER_VOCABULARY },
};

/** The fields in which the architecture differs from the paper's. */
const LARGE_FORM = {
  feedForward: { factor: 2.6667, activation: 'silu' },
  norm: 'rmsnorm',
  normEps: 1e-6,
  logitSoftCap: 30,
} as const satisfies ModelConfigInput;

/** "xlstm[1:1]-small" and so on: the ratio of mLSTM to sLSTM blocks, and the size; "xlstm-large-7b" and so on. */
export const presetNames: readonly string[] = [
  ...Object.keys(SIZES).flatMap((size) => Object.keys(RATIOS).map((ratio) => `xlstm[${ratio}]-${size}`)),
  ...Object.keys(LARGE).map((size) => `xlstm-large-${size}`),
];

/**
 * The model configuration of a preset.
 * @param name  one of `presetNames`; upper and lower case are the same
 * @throws RangeError naming the nearest preset.
 */
export function presetConfig(name: string): ModelConfigInput {
  const large = LARGE[/^xlstm-large-(.+)$/.exec(name.toLowerCase())?.[1] ?? ''];
  if (large !== undefined) {
    const { dim, count, heads, ...vocabulary } = large;
    const blocks = Array.from({ length: count }, (): MixerName => 'mlstmLarge');
    return { dim, blocks, mlstmLarge: { heads }, ...LARGE_FORM, ...vocabulary };
  }
  const match = /^xlstm\[(\d:\d)\]-(.+)$/.exec(name.toLowerCase());
  const size = SIZES[match?.[2] ?? ''];
  const ratio = RATIOS[match?.[1] ?? ''];
  if (size === undefined || ratio === undefined) {
    throw new RangeError(`preset: there is no "${name}"${suggestion(name, presetNames)}`);
  }
  const { dim, count, vocabSize } = size;
  return { dim, blocks: blocks(count, ratio(size)), ...(vocabSize === undefined ? {} : { vocabSize }) };
}
