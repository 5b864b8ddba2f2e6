/** @file Which files a corpus is made of: files and folders, in a fixed order, each of a kind that can be read. */
import { readdir, realpath, stat } from 'node:fs/promises';
import path from 'node:path';

export type SourceKind = 'text' | 'jsonl' | 'jsonl.zst';

export interface SourceFile {
  readonly path: string;
  readonly kind: SourceKind;
  readonly bytes: number;
  /** Time of the last change, in milliseconds. */
  readonly changed: number;
}

const ENDINGS: readonly (readonly [ending: string, kind: SourceKind])[] = [
  ['.jsonl.zst', 'jsonl.zst'],
  ['.jsonl', 'jsonl'],
  ['.txt', 'text'],
];

const kindOf = (file: string): SourceKind | null =>
  ENDINGS.find(([ending]) => file.toLowerCase().endsWith(ending))?.[1] ?? null;

/** Whether a file of this name is read as part of a corpus. */
export const isSourceFile = (name: string): boolean => kindOf(name) !== null;

/**
 * The files of a corpus: each path as given, and for a folder the .txt, .jsonl and .jsonl.zst files in it and below,
 * ordered by name; hidden ones are left out. A file that comes twice is taken once.
 * @throws Error if a path is not there, a file is of another kind or empty, or a folder has nothing to read.
 */
export async function listSourceFiles(paths: string | readonly string[]): Promise<SourceFile[]> {
  const files: SourceFile[] = [];
  const seen = new Set<string>();
  const list = typeof paths === 'string' ? [paths] : paths;
  if (list.length === 0)
    throw new Error('corpus: no files are given; name .txt, .jsonl or .jsonl.zst files, or a folder of them');
  for (const given of list) {
    const found = await stat(given).catch(() => null);
    if (found === null) throw new Error(`corpus: there is no file or folder ${given}`);
    for (const file of found.isDirectory() ? await filesBelow(given) : [given]) {
      const identity = await realpath(file);
      if (!seen.has(identity)) files.push(await sourceFile(file));
      seen.add(identity);
    }
  }
  return files;
}

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true });
  const visible = entries.filter((name) => !name.split(path.sep).some((part) => part.startsWith('.')));
  const readable = visible.filter((name) => kindOf(name) !== null).sort();
  if (readable.length === 0) {
    throw new Error(
      `corpus: the folder ${folder} has no .txt, .jsonl or .jsonl.zst files (of ${visible.length} entries)`,
    );
  }
  return readable.map((name) => path.join(folder, name));
}

/** A file as one text, whatever its name ends with. @throws Error if it is not there or empty. */
export async function textFile(file: string): Promise<SourceFile> {
  const found = await stat(file).catch(() => null);
  if (found === null) throw new Error(`there is no file ${file}`);
  if (!found.isFile()) throw new Error(`${file} is not a file of text`);
  if (found.size === 0) throw new Error(`${file} is empty`);
  return { path: file, kind: 'text', bytes: found.size, changed: found.mtimeMs };
}

async function sourceFile(file: string): Promise<SourceFile> {
  const kind = kindOf(file);
  if (kind === null) {
    throw new Error(`corpus: ${file} is not a .txt, .jsonl or .jsonl.zst file; if it is plain text, name it .txt`);
  }
  const { size, mtimeMs } = await stat(file);
  if (size === 0) throw new Error(`corpus: ${file} is empty; remove it from the list or fill it`);
  return { path: file, kind, bytes: size, changed: mtimeMs };
}
