/** @file Evaluation by domain: each folder or file of a folder is one, and there are two ways to average them. */
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { isSourceFile, listSourceFiles, type SourceFile } from '../data/source-files.js';
import { addTallies, macroAverage, scoreOf, type MacroAverage, type Score, type Tally } from './score.js';

export interface Domain {
  readonly name: string;
  readonly files: readonly SourceFile[];
}

export interface DomainScores {
  readonly domains: readonly (Score & { readonly name: string })[];
  /** Each domain counts the same: means of loss and of bits per byte, and exp of the mean loss. */
  readonly macro: MacroAverage;
  /** Each token counts the same: all domains as one text. */
  readonly micro: Score;
}

/**
 * The domains of a folder, by name: its sub-folders, and the .txt, .jsonl and .jsonl.zst files in it.
 * @throws Error when there are none, or one cannot be read.
 */
export async function listDomains(folder: string): Promise<Domain[]> {
  const found = await stat(folder).catch(() => null);
  if (found === null || !found.isDirectory()) throw new Error(`there is no folder ${folder}`);
  const entries = await readdir(folder, { withFileTypes: true });
  const names = entries
    .filter((entry) => !entry.name.startsWith('.') && (entry.isDirectory() || isSourceFile(entry.name)))
    .map(({ name }) => name)
    .sort();
  if (names.length === 0) {
    throw new Error(`${folder}: there are no domains in it: no sub-folders, and no .txt, .jsonl or .jsonl.zst files`);
  }
  return Promise.all(names.map(async (name) => ({ name, files: await listSourceFiles(path.join(folder, name)) })));
}

/** Scores the domains one after the other. */
export async function domainScores(
  domains: readonly Domain[],
  score: (domain: Domain) => Promise<Score>,
): Promise<DomainScores> {
  const scored: (Score & { readonly name: string })[] = [];
  for (const domain of domains) scored.push({ name: domain.name, ...(await score(domain)) });
  const all = scored.reduce<Tally>(addTallies, { documents: 0, tokens: 0, bytes: 0, predicted: 0, nats: 0 });
  return { domains: scored, macro: macroAverage(scored), micro: scoreOf(all) };
}
