/**
 * @file Making a dataset: a corpus is tokenised once, split into a part for training and one that is held out, and
 * written to a folder; nothing is done when the folder already holds the same. Reading it is left to `dataset.ts`.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import {
  cleanLeftovers,
  explainWriteFailure,
  makeFolder,
  removeQuietly,
  syncPath,
  temporaryName,
} from '../model/disk.js';
import type { Tokenizer } from '../tokens/tokenizer.js';
import {
  DATASET_FORMAT,
  DATASET_VERSION,
  type DatasetMeta,
  documentsFile,
  META_FILE,
  type PartMeta,
  type PartName,
  PARTS,
  readMeta,
  REPLACING,
  tokensFile,
} from './dataset.js';
import { listSourceFiles, type SourceFile } from './source-files.js';
import { type Parts, type Run, splitByDocument, splitNothing, splitTail } from './split.js';
import { type NumberType, NumberWriter, openTokenFile } from './token-file.js';
import { type PrepareProgress, tokenizeCorpus, type TokenizedCorpus } from './tokenize-corpus.js';

export interface PrepareOptions {
  /** .txt, .jsonl and .jsonl.zst files, or folders of them. */
  readonly files: string | readonly string[];
  readonly tokenizer: Tokenizer;
  /** Where the dataset goes; it is created. */
  readonly folder: string;
  /** Part of the text that is held out, from 0 to below 1. Default 0.1. */
  readonly validationFraction?: number;
  /** Decides which documents are held out. Default 0. */
  readonly seed?: number;
  /** Hold out the end of the text, or whole documents; default "auto": documents where there are at least 20. */
  readonly splitBy?: 'auto' | 'tail' | 'document';
  /** Field of a .jsonl record that holds the text. Default "text". */
  readonly field?: string;
  /** Text between documents in a .txt file. Default: the tokenizer's end-of-text token; null for none. */
  readonly separator?: string | null;
  readonly onProgress?: (progress: PrepareProgress) => void;
  readonly signal?: AbortSignal;
}

export interface PreparedDataset {
  readonly folder: string;
  readonly meta: DatasetMeta;
  /** Whether the folder held the same dataset already. */
  readonly reused: boolean;
}

/** From so many documents on, "auto" holds out documents. */
const MANY_DOCUMENTS = 20;

/**
 * Tokenises a corpus into a folder, or finds that it is there already: the same files, tokenizer and options.
 * Everything is written under temporary names first; a failure leaves what was there before.
 * @throws Error in one sentence: a file that cannot be read, a split that cannot be made, a disk that refuses.
 */
export async function prepareDataset(options: PrepareOptions): Promise<PreparedDataset> {
  const settings = settingsOf(options);
  const files = await listSourceFiles(options.files);
  const { folder, tokenizer } = options;
  const old = readMeta(folder);
  if (old === 'foreign' || (old === null && fs.existsSync(path.join(folder, tokensFile('train'))))) {
    throw new Error(
      `prepareDataset: ${folder} holds files of something else (${META_FILE} or ${tokensFile('train')}); choose another folder`,
    );
  }
  if (old !== null && old !== 'replacing' && (await isSame(old, folder, files, tokenizer, settings))) {
    return { folder, meta: old, reused: true };
  }
  try {
    makeFolder(folder);
    cleanLeftovers(folder);
    return { folder, meta: await build(options, settings, files), reused: false };
  } catch (error) {
    const stands = typeof old === 'object' && old !== null ? 'the previous dataset stands' : 'nothing was there before';
    throw explainWriteFailure(error, 'the dataset', folder, undefined, stands);
  } finally {
    for (const name of WRITTEN) removeQuietly(temporaryName(path.join(folder, name)));
  }
}

type Settings = DatasetMeta['options'];

function settingsOf(options: PrepareOptions): Settings {
  const { validationFraction = 0.1, seed = 0, splitBy = 'auto', field = 'text', tokenizer } = options;
  if (!(validationFraction >= 0 && validationFraction < 1)) {
    throw new RangeError(
      `prepareDataset: validationFraction must be at least 0 and below 1, got ${validationFraction}`,
    );
  }
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new RangeError(`prepareDataset: seed must be a whole number from 0 to 2^53 - 1, got ${seed}`);
  }
  const endOfText = tokenizer.eosId === null ? null : tokenizer.decode([tokenizer.eosId]);
  const separator = options.separator === undefined ? endOfText : options.separator;
  return { validationFraction, seed, splitBy, field, separator };
}

/** Files that a build writes under temporary names; the first two are there only for the time of the build. */
const ALL_TOKENS = 'tokens.bin';
const REPLACING_FILE = 'replacing.json';
const WRITTEN = [
  ALL_TOKENS,
  REPLACING_FILE,
  ...PARTS.flatMap((part) => [tokensFile(part), documentsFile(part)]),
  META_FILE,
];

async function isSame(
  old: DatasetMeta,
  folder: string,
  files: readonly SourceFile[],
  tokenizer: Tokenizer,
  settings: Settings,
): Promise<boolean> {
  if (old.tokenizer.fingerprint !== tokenizer.fingerprint() || JSON.stringify(old.options) !== JSON.stringify(settings))
    return false;
  if (old.sources.length !== files.length || !PARTS.every((part) => isWhole(folder, old, part))) return false;
  for (const [k, file] of files.entries()) {
    const source = old.sources[k]!;
    if (source.bytes !== file.bytes) return false;
    // Unchanged since: the contents need not be read. Else they decide.
    const untouched = source.path === file.path && source.changed === file.changed;
    if (!untouched && (await sha256(file.path)) !== source.sha256) return false;
  }
  return true;
}

function isWhole(folder: string, meta: DatasetMeta, part: PartName): boolean {
  const size = (name: string): number => fs.statSync(path.join(folder, name), { throwIfNoEntry: false })?.size ?? -1;
  const width = meta.type === 'uint16' ? 2 : 4;
  return size(tokensFile(part)) === width * meta[part].tokens && size(documentsFile(part)) === 8 * meta[part].documents;
}

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(fs.createReadStream(file), hash);
  return hash.digest('hex');
}

async function build(options: PrepareOptions, settings: Settings, files: readonly SourceFile[]): Promise<DatasetMeta> {
  const { folder, tokenizer, onProgress, signal } = options;
  const type: DatasetMeta['type'] = tokenizer.vocabSize <= 0x10000 ? 'uint16' : 'uint32';
  const all = temporaryName(path.join(folder, ALL_TOKENS));
  const { field, separator, seed } = settings;
  const corpus = await writing(all, type, (out) =>
    tokenizeCorpus(out, {
      files,
      tokenizer,
      field,
      separator,
      seed,
      onProgress,
      signal,
      cutAfter: cutAfter(settings, files),
    }),
  );
  const [split, parts] = splitOf(corpus, settings);
  const meta: DatasetMeta = {
    format: DATASET_FORMAT,
    version: DATASET_VERSION,
    tokenizer: { fingerprint: tokenizer.fingerprint(), vocabSize: tokenizer.vocabSize, eosId: tokenizer.eosId },
    type,
    options: settings,
    split,
    sources: files.map(({ path: name, bytes, changed }, k) => ({
      path: name,
      bytes,
      changed,
      sha256: corpus.hashes[k]!,
    })),
    train: await writePart(folder, 'train', all, type, parts.train, tokenizer.eosId),
    validation: await writePart(folder, 'validation', all, type, parts.validation, tokenizer.eosId),
  };
  commit(folder, meta);
  return meta;
}

/** A cut by position is possible in .txt files, whose length is known before they are read. */
function cutAfter({ validationFraction, splitBy }: Settings, files: readonly SourceFile[]): number | null {
  const mayCut = splitBy === 'tail' || (splitBy === 'auto' && files.length < MANY_DOCUMENTS);
  return mayCut && validationFraction > 0 && files.every((file) => file.kind === 'text')
    ? 1 - validationFraction
    : null;
}

function splitOf(
  { table, mark }: TokenizedCorpus,
  { validationFraction, splitBy }: Settings,
): [DatasetMeta['split'], Parts] {
  if (validationFraction === 0) return [null, splitNothing(table)];
  const byDocument = splitBy === 'document' || (splitBy === 'auto' && table.length >= MANY_DOCUMENTS);
  if (byDocument) return ['document', splitByDocument(table, validationFraction)];
  return ['tail', splitTail(table, validationFraction, mark)];
}

/** Opens a file for numbers, lets `fill` write them, and closes it whatever happens. */
async function writing<T>(file: string, type: NumberType, fill: (out: NumberWriter) => T | Promise<T>): Promise<T> {
  const out = new NumberWriter(file, type);
  try {
    const result = await fill(out);
    out.finish();
    return result;
  } finally {
    out.close();
  }
}

/** Writes one part from the runs of all tokens that belong to it. */
async function writePart(
  folder: string,
  part: PartName,
  all: string,
  type: NumberType,
  runs: readonly Run[],
  eosId: number | null,
): Promise<PartMeta> {
  const source = openTokenFile(all, type, { access: 'read' });
  const sum = (of: (run: Run) => number): number => runs.reduce((total, run) => total + of(run), 0);
  try {
    return await writing(temporaryName(path.join(folder, documentsFile(part))), 'float64', (documents) =>
      writing(temporaryName(path.join(folder, tokensFile(part))), type, (tokens) => {
        for (const run of runs) copyRun(run, source, tokens, documents, eosId);
        // The last document ends, too, unless it was cut off here.
        if (eosId !== null && runs.length > 0 && !runs.at(-1)!.cutAfter) tokens.push(eosId);
        const [bytes, characters] = [sum((run) => run.bytes), sum((run) => run.characters)];
        return { tokens: tokens.length, documents: documents.length, bytes, characters };
      }),
    );
  } finally {
    source.close();
  }
}

const COPIED = 1 << 18;

function copyRun(
  run: Run,
  source: ReturnType<typeof openTokenFile>,
  tokens: NumberWriter,
  documents: NumberWriter,
  eosId: number | null,
): void {
  const shift = tokens.length - run.start;
  for (const start of run.documents) documents.push(start + shift);
  // What follows a cut is a document of its own, and begins as one.
  if (run.cutBefore && eosId !== null) tokens.push(eosId);
  const some = new Int32Array(COPIED);
  for (let at = run.start; at < run.end; at += COPIED) {
    const count = Math.min(COPIED, run.end - at);
    source.copy(some, 0, at, count);
    tokens.pushAll(some.subarray(0, count));
  }
}

/**
 * Moves the finished files into place. In between meta.json says so: a process killed there leaves no mix of old and
 * new that looks whole.
 */
function commit(folder: string, meta: DatasetMeta): void {
  const place = (name: string): void => fs.renameSync(temporaryName(path.join(folder, name)), path.join(folder, name));
  const write = (name: string, content: unknown): void => {
    fs.writeFileSync(temporaryName(path.join(folder, name)), JSON.stringify(content, null, 2), { flush: true });
  };
  // All that needs room on the disk comes before the first name changes.
  write(REPLACING_FILE, REPLACING);
  write(META_FILE, meta);
  fs.renameSync(temporaryName(path.join(folder, REPLACING_FILE)), path.join(folder, META_FILE));
  for (const part of PARTS) {
    place(tokensFile(part));
    place(documentsFile(part));
  }
  place(META_FILE);
  syncPath(folder);
}
