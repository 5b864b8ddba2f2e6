/** @file tokenizer.json and tokenizer_config.json on disk: finding, reading and writing them. It does not interpret them. */
import fs from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { explainWriteFailure, makeFolder, removeQuietly, syncPath, temporaryName, writeAll } from '../model/disk.js';
import type { Tokenizer } from './tokenizer.js';

export const TOKENIZER_FILE = 'tokenizer.json';
export const CONFIG_FILE = 'tokenizer_config.json';

export interface TokenizerTexts {
  /** The tokenizer.json that was read, for errors. */
  readonly file: string;
  readonly tokenizer: string;
  /** The text of tokenizer_config.json beside it, if there is one. */
  readonly config: string | null;
}

/** @throws Error if there is no tokenizer.json at `fileOrFolder`. */
export async function readTokenizerTexts(fileOrFolder: string): Promise<TokenizerTexts> {
  const kind = await stat(fileOrFolder).catch(() => null);
  if (kind === null) throw new Error(`loadTokenizer: there is no file or folder ${fileOrFolder}`);
  const file = kind.isDirectory() ? path.join(fileOrFolder, TOKENIZER_FILE) : fileOrFolder;
  const tokenizer = await readIfThere(file);
  if (tokenizer === null) {
    throw new Error(
      `loadTokenizer: the folder ${fileOrFolder} has no ${TOKENIZER_FILE}; give a folder that has one, or the file itself`,
    );
  }
  return { file, tokenizer, config: await readIfThere(path.join(path.dirname(file), CONFIG_FILE)) };
}

async function readIfThere(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** Everything about a tokenizer that lies beside a model, whichever library wrote it. */
const ALL_FILES = [
  TOKENIZER_FILE,
  CONFIG_FILE,
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.jinja',
  'vocab.json',
  'merges.txt',
  'tokenizer.model',
];

/** Copies the tokenizer of a model folder, in all its files, as they are. */
export function copyTokenizerFiles(from: string, to: string): void {
  for (const name of ALL_FILES) {
    const file = path.join(from, name);
    if (fs.existsSync(file)) fs.copyFileSync(file, path.join(to, name));
  }
}

/**
 * Writes tokenizer.json and tokenizer_config.json, creating the folder; each goes to a temporary name first and is renamed.
 * @throws WriteError when the disk refuses; what was there before stands.
 */
export function saveTokenizer(folder: string, tokenizer: Tokenizer): void {
  for (const [name, text] of Object.entries(tokenizer.files())) {
    const file = path.join(folder, name);
    const temporary = temporaryName(file);
    const bytes = Buffer.from(text, 'utf8');
    try {
      makeFolder(folder);
      const fd = fs.openSync(temporary, 'w');
      try {
        writeAll(fd, bytes);
        fs.fsyncSync(fd);
      } finally {
        fs.closeSync(fd);
      }
      fs.renameSync(temporary, file);
      syncPath(folder);
    } catch (error) {
      removeQuietly(temporary);
      throw explainWriteFailure(error, 'the tokenizer', file, bytes.byteLength, 'the previous file stands');
    }
  }
}
