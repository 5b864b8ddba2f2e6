/**
 * @file The text that examples/linux.yaml is trained on, from an unpacked source of Linux:
 * `npx tsx bench/cuda/linux-text.ts linux-source-6.1 linux`. One document a file; all of Documentation and of the rest as
 * much as fits into 450 MB, chosen by a hash of the path. Left out are generated register lists, very short and very long
 * files, files that are no UTF-8, and what was there before.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

const [source, out] = process.argv.slice(2);
if (source === undefined || out === undefined) throw new Error('usage: linux-text.ts SOURCE OUT');

const MOST_BYTES = 450e6;
const PARTS = 3;
const ENDINGS = ['.c', '.h', '.S', '.rst', '.txt', '.dts', '.dtsi', '.yaml', '.py', '.sh', '.pl', '.rs'];
const hashOf = (data: string | Buffer): string => createHash('sha256').update(data).digest('hex');

const isText = (file: string): boolean => {
  const name = path.basename(file);
  return (ENDINGS.some((end) => name.endsWith(end)) || /^(Kconfig|Makefile)/.test(name)) && !file.includes('asic_reg');
};

function read(file: string): Buffer | null {
  const { size } = fs.statSync(path.join(source!, file));
  if (size < 200 || size > 250_000) return null;
  const bytes = fs.readFileSync(path.join(source!, file));
  return Buffer.from(bytes.toString('utf8')).equals(bytes) ? bytes : null;
}

const files = fs
  .readdirSync(source, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => path.relative(source, path.join(entry.parentPath, entry.name)))
  .filter(isText)
  .map((file) => ({ file, hash: hashOf(file), late: file.startsWith('Documentation') ? 0 : 1 }))
  .sort((a, b) => a.late - b.late || (a.hash < b.hash ? -1 : 1));

fs.mkdirSync(out, { recursive: true });
const parts = Array.from({ length: PARTS }, (_, k) => fs.openSync(path.join(out, `linux-${k}.jsonl`), 'w'));
const seen = new Set<string>();
let [bytes, documents] = [0, 0];
for (const { file, hash } of files) {
  const text = read(file);
  if (text === null || bytes + text.length > MOST_BYTES) continue;
  const content = hashOf(text);
  if (seen.has(content)) continue;
  seen.add(content);
  fs.writeSync(parts[parseInt(hash.slice(0, 2), 16) % PARTS]!, `${JSON.stringify({ text: text.toString('utf8') })}\n`);
  bytes += text.length;
  documents++;
}
for (const part of parts) fs.closeSync(part);
console.log(`${documents} documents, ${(bytes / 1e6).toFixed(0)} MB`);
