/**
 * @file A dataset on disk: what its folder holds, and opening it. `prepare.ts` makes one, `batches.ts` reads batches.
 *
 *     train.bin                  token ids, uint16 or uint32, little-endian
 *     train.documents.bin        where documents begin in it, float64, ascending, the first at 0
 *     validation.bin, validation.documents.bin
 *     meta.json                  what it was made from and how; written last
 */
import fs from 'node:fs';
import path from 'node:path';
import * as z from 'zod';
import { errorCode } from '../model/disk.js';
import type { TextPart } from './text-part.js';
import { type OpenOptions, openTokenFile, type TokenFile } from './token-file.js';

export const DATASET_FORMAT = 'xlstm-dataset';
export const DATASET_VERSION = 1;
export const META_FILE = 'meta.json';
export const PARTS = ['train', 'validation'] as const;
export type PartName = (typeof PARTS)[number];
export const tokensFile = (part: PartName): string => `${part}.bin`;
export const documentsFile = (part: PartName): string => `${part}.documents.bin`;

const count = z.number().int().min(0);
const partSchema = z.strictObject({
  /** Token ids, with the end-of-text tokens. */
  tokens: count,
  documents: count,
  /** Bytes and characters (code points) of the text, in UTF-8. */
  bytes: count,
  characters: count,
});
const metaSchema = z.strictObject({
  format: z.literal(DATASET_FORMAT),
  version: z.literal(DATASET_VERSION),
  tokenizer: z.strictObject({ fingerprint: z.string(), vocabSize: count, eosId: count.nullable() }),
  type: z.enum(['uint16', 'uint32']),
  options: z.strictObject({
    validationFraction: z.number(),
    seed: z.number(),
    splitBy: z.enum(['auto', 'tail', 'document']),
    field: z.string(),
    separator: z.string().nullable(),
  }),
  /** How it was split in the end; null if nothing is held out. */
  split: z.enum(['tail', 'document']).nullable(),
  sources: z.array(z.strictObject({ path: z.string(), bytes: count, changed: z.number(), sha256: z.string() })),
  train: partSchema,
  validation: partSchema,
});

export type DatasetMeta = z.infer<typeof metaSchema>;
export type PartMeta = z.infer<typeof partSchema>;

/** One part of a dataset: a stream of tokens and where documents begin in it. */
export interface DatasetPart extends TextPart {
  readonly name: PartName;
  readonly tokens: TokenFile;
  readonly documents: TokenFile;
  readonly meta: PartMeta;
}

export interface Dataset {
  readonly folder: string;
  readonly meta: DatasetMeta;
  readonly train: DatasetPart;
  readonly validation: DatasetPart;
  close(): void;
  [Symbol.dispose](): void;
}

/** Written in place of meta.json while the files of an old dataset are replaced. */
export const REPLACING = { format: DATASET_FORMAT, version: DATASET_VERSION, replacing: true };

/** What a folder holds: a dataset, one that a killed process left half replaced, something else, or nothing. */
export function readMeta(folder: string): DatasetMeta | 'replacing' | 'foreign' | null {
  let text: string;
  try {
    text = fs.readFileSync(path.join(folder, META_FILE), 'utf8');
  } catch (error) {
    // A file where a folder should be is for whoever writes to say.
    if (['ENOENT', 'ENOTDIR'].includes(errorCode(error) ?? '')) return null;
    throw error;
  }
  const json = parse(text);
  const meta = metaSchema.safeParse(json);
  if (meta.success) return meta.data;
  return (json as { format?: unknown } | null)?.format === DATASET_FORMAT ? 'replacing' : 'foreign';
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}

/**
 * Opens a dataset. Close it when done, or say `using`.
 * @param options.fingerprint  of the tokenizer that the model has: another one is refused.
 * @throws Error if the folder has no dataset, a damaged one, or one of another tokenizer.
 */
export function openDataset(folder: string, options: OpenOptions & { readonly fingerprint?: string } = {}): Dataset {
  const meta = readMeta(folder);
  if (meta === null || meta === 'foreign')
    throw new Error(`openDataset: ${folder} holds no dataset; prepareDataset makes one`);
  if (meta === 'replacing')
    throw new Error(
      `openDataset: the dataset in ${folder} is not complete, or of another version; prepareDataset makes it anew`,
    );
  const { fingerprint } = options;
  if (fingerprint !== undefined && fingerprint !== meta.tokenizer.fingerprint) {
    throw new Error(
      `openDataset: ${folder} was made with another tokenizer (fingerprint ${short(meta.tokenizer.fingerprint)}, ` +
        `the one in use has ${short(fingerprint)}); prepare the dataset again with this tokenizer`,
    );
  }
  const opened: TokenFile[] = [];
  try {
    const [train, validation] = PARTS.map((part) => openPart(folder, meta, part, options, opened)) as [
      DatasetPart,
      DatasetPart,
    ];
    const close = (): void => opened.forEach((file) => file.close());
    return { folder, meta, train, validation, close, [Symbol.dispose]: close };
  } catch (error) {
    opened.forEach((file) => file.close());
    throw error;
  }
}

const short = (fingerprint: string): string => fingerprint.slice(0, 12);

function openPart(
  folder: string,
  meta: DatasetMeta,
  part: PartName,
  options: OpenOptions,
  opened: TokenFile[],
): DatasetPart {
  const open = (name: string, type: 'uint16' | 'uint32' | 'float64', length: number): TokenFile => {
    const file = openTokenFile(path.join(folder, name), type, options);
    opened.push(file);
    if (file.length === length) return file;
    throw new Error(
      `openDataset: ${path.join(folder, name)} has ${file.length} numbers, meta.json says ${length}; it is damaged, delete the folder and prepare it again`,
    );
  };
  const tokens = open(tokensFile(part), meta.type, meta[part].tokens);
  const documents = open(documentsFile(part), 'float64', meta[part].documents);
  return { name: part, tokens, documents, eosId: meta.tokenizer.eosId, meta: meta[part] };
}
