/** @file Token ids that a person gives: on the command line, in a text file, or as a tensor. Checked, not computed with. */
import fs from 'node:fs';
import { openSafetensors } from '../model/safetensors.js';
import { SafetensorsError } from '../model/safetensors-header.js';
import { formatShape } from '../tensor/shape.js';

/** More is a mistake, or work for several files. */
const MOST_TOKENS = 1 << 24;

/**
 * Sequences of token ids from text: one a line, the ids with commas or spaces between them. Empty lines are left out.
 * @param where  how errors call the text
 * @throws Error when there is no id, or something is no id.
 */
export function parseTokens(text: string, where: string): Int32Array[] {
  const sequences = text
    .split(/\r?\n/)
    .map((line, k) => ({ words: line.split(/[\s,]+/).filter((word) => word !== ''), line: k + 1 }))
    .filter(({ words }) => words.length > 0);
  if (sequences.length === 0) throw new Error(`${where}: there are no token ids; write them as 1,2,3`);
  return sequences.map(({ words, line }) =>
    Int32Array.from(words, (word) => {
      const id = Number(word);
      if (/^\d+$/.test(word) && id < 2 ** 31) return id;
      const place = sequences.length === 1 ? '' : `, line ${line}`;
      throw new Error(
        `${where}${place}: ${JSON.stringify(word.slice(0, 40))} is not a token id, a whole number from 0`,
      );
    }),
  );
}

/**
 * Sequences of a file: text as for `parseTokens`, or safetensors with an integer tensor `tokens` [B,T] or [T].
 * @throws Error when the file has something else in it.
 */
export function readTokensFile(file: string): Int32Array[] {
  if (!fs.existsSync(file)) throw new Error(`there is no file ${file}`);
  if (file.toLowerCase().endsWith('.safetensors')) return readTokensTensor(file);
  return parseTokens(fs.readFileSync(file, 'utf8'), file);
}

function readTokensTensor(file: string): Int32Array[] {
  using open = openSafetensors(file);
  const info = open.tensors.get('tokens');
  if (info === undefined) {
    throw new SafetensorsError(
      `${file}: has no tensor "tokens"; it has ${[...open.tensors.keys()].slice(0, 5).join(', ')}`,
    );
  }
  const { dtype, shape } = info;
  const [B, T] = shape.length === 1 ? [1, shape[0]!] : (shape as [number, number]);
  if (shape.length < 1 || shape.length > 2 || B * T === 0) {
    throw new SafetensorsError(`${file}: tokens must be [B,T] or [T] and not empty, got ${formatShape(shape)}`);
  }
  if (dtype !== 'I64' && dtype !== 'I32')
    throw new SafetensorsError(`${file}: tokens must be I64 or I32, got ${dtype}`);
  const ids = open.read('tokens') as BigInt64Array | Int32Array;
  const limit = 2 ** 31;
  const tokens = Int32Array.from(ids as Iterable<bigint | number>, (id, k) => {
    if (id >= 0 && id < limit) return Number(id);
    throw new SafetensorsError(`${file}: tokens holds ${id} at element ${k}, which is no token id`);
  });
  return Array.from({ length: B }, (_, row) => tokens.subarray(row * T, (row + 1) * T));
}

/** @throws RangeError when an id is beyond the vocabulary, or there are too many. */
export function checkTokens(sequences: readonly Int32Array[], vocabSize: number): void {
  const total = sequences.reduce((sum, { length }) => sum + length, 0);
  if (total > MOST_TOKENS) {
    throw new RangeError(
      `logits: ${total} tokens are too many at once, the limit is ${MOST_TOKENS}; cut them in parts`,
    );
  }
  for (const [row, tokens] of sequences.entries()) {
    const at = tokens.findIndex((id) => id < 0 || id >= vocabSize);
    if (at === -1) continue;
    const place = sequences.length === 1 ? `position ${at}` : `sequence ${row}, position ${at}`;
    throw new RangeError(`logits: token ${tokens[at]} at ${place} is not in the vocabulary of ${vocabSize} tokens`);
  }
}
