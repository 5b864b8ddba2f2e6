/** @file The text of a run: its tokenizer, its dataset in the run folder, and batches by number. */
import { createBatches, evaluationBatches } from '../data/batches.js';
import { readTexts } from '../data/corpus.js';
import { openDataset, type Dataset } from '../data/dataset.js';
import type { TokenFile } from '../data/token-file.js';
import { prepareDataset } from '../data/prepare.js';
import { trainBpe } from '../tokens/bpe-train.js';
import { ByteTokenizer, END_OF_TEXT } from '../tokens/bytes.js';
import { charTokenizer } from '../tokens/chars.js';
import { loadTokenizer } from '../tokens/load.js';
import type { Tokenizer } from '../tokens/tokenizer.js';
import { saveTokenizer } from '../tokens/tokenizer-files.js';
import type { RunConfig } from './config.js';
import { runPaths } from './run-folder.js';
import type { HostBatch } from './trainer.js';

export interface PrepareProgress {
  /** What happens: "training the tokenizer", "tokenising". */
  readonly stage: string;
  readonly done: number;
  /** 0 where it is not known. */
  readonly total: number;
}

export interface RunData {
  readonly tokenizer: Tokenizer;
  /** Bytes of text in each part. */
  readonly bytes: { readonly train: number; readonly validation: number };
  readonly bytesPerToken: number;
  /** For people: what the model was trained on. */
  readonly facts: Readonly<Record<string, unknown>>;
  /** Micro-batch of that number; depends on the seed and the number alone. */
  batchAt(index: number): HostBatch;
  /**
   * Held-out batches in text order, at most `count` (0: all), of the size of those of the training or another; null where
   * nothing is held out.
   */
  validationBatches(count: number, size?: { readonly B: number; readonly T: number }): Iterable<HostBatch> | null;
  /** How often each token stands in the training part [V]. Reads all of it. */
  trainCounts(): Float64Array;
  /** A loss in nats per token as bits per byte of that part's text. */
  bitsPerByte(part: 'train' | 'validation', loss: number): number;
  close(): void;
}

interface PrepareOptions {
  readonly signal?: AbortSignal;
  readonly onPrepare?: (progress: PrepareProgress) => void;
}

/**
 * Makes the tokenizer and the dataset of a new run in its folder.
 * @throws Error naming the file at fault; RangeError when the text is shorter than the context.
 */
export async function prepareRunData(config: RunConfig, folder: string, options: PrepareOptions): Promise<RunData> {
  const { files, field, validationFraction, splitBy } = config.data;
  const { signal, onPrepare = () => {} } = options;
  const tokenizer = await makeTokenizer(config, onPrepare);
  saveTokenizer(folder, tokenizer);
  await prepareDataset({
    files,
    tokenizer,
    folder: runPaths(folder).data,
    validationFraction,
    seed: config.training.seed,
    splitBy,
    field,
    onProgress: ({ bytes, totalBytes }) => onPrepare({ stage: 'tokenising', done: bytes, total: totalBytes }),
    ...(signal === undefined ? {} : { signal }),
  });
  return openRunData(config, folder);
}

/** Opens what `prepareRunData` made. @throws Error when it is missing or damaged. */
export async function openRunData(config: RunConfig, folder: string): Promise<RunData> {
  const tokenizer = await loadTokenizer(folder);
  const dataset = openDataset(runPaths(folder).data, { fingerprint: tokenizer.fingerprint() });
  try {
    return runData(config, tokenizer, dataset);
  } catch (error) {
    dataset.close();
    throw error;
  }
}

function runData(config: RunConfig, tokenizer: Tokenizer, dataset: Dataset): RunData {
  const { batchSize: B, contextLength: T, seed } = config.training;
  const { order } = config.data;
  const { train, validation } = dataset.meta;
  const batches = createBatches(dataset.train, { B, T, seed, order });
  const bytesPerToken = {
    train: train.bytes / train.tokens,
    validation: validation.bytes / Math.max(validation.tokens, 1),
  };
  return {
    tokenizer,
    bytes: { train: train.bytes, validation: validation.bytes },
    bytesPerToken: bytesPerToken.train,
    facts: {
      files: config.data.files,
      trainBytes: train.bytes,
      validationBytes: validation.bytes,
      trainTokens: train.tokens,
      validationTokens: validation.tokens,
      documents: train.documents + validation.documents,
      tokenizer: config.data.tokenizer,
      contextLength: T,
    },
    batchAt: (index) => batches.batchAt(index),
    validationBatches: (count, { B: rows, T: steps } = { B, T }) =>
      validation.tokens < 2 ? null : evaluationBatches(dataset.validation, { B: rows, T: steps, batches: count }),
    trainCounts: () => countTokens(dataset.train.tokens, tokenizer.vocabSize),
    bitsPerByte: (part, loss) => loss / Math.LN2 / bytesPerToken[part],
    close: () => dataset.close(),
  };
}

/** Tokens that are counted at once. */
const PIECE = 1 << 16;

function countTokens(tokens: TokenFile, vocabSize: number): Float64Array {
  const counts = new Float64Array(vocabSize);
  const piece = new Int32Array(PIECE);
  for (let start = 0; start < tokens.length; start += PIECE) {
    const length = Math.min(PIECE, tokens.length - start);
    tokens.copy(piece, 0, start, length);
    for (let k = 0; k < length; k++) counts[piece[k]!]!++;
  }
  return counts;
}

async function makeTokenizer(config: RunConfig, onPrepare: (progress: PrepareProgress) => void): Promise<Tokenizer> {
  const { tokenizer, vocabSize, files, field } = config.data;
  if (tokenizer === 'bytes') return new ByteTokenizer();
  if (tokenizer === 'chars') return charTokenizer(readTexts(files, { field }));
  if (tokenizer !== 'bpe') return loadTokenizer(tokenizer);
  return trainBpe(readTexts(files, { field, separator: END_OF_TEXT }), {
    vocabSize,
    onProgress: ({ phase, done, total }) =>
      onPrepare({
        stage: phase === 'count' ? 'reading for the tokenizer' : 'training the tokenizer',
        done,
        total: total ?? 0,
      }),
  });
}
