/**
 * @file How fast a model folder decodes, against the read bandwidth of the machine in the same run, in each storage that it
 * can be held in; with the time that opening takes and the memory that it needs.
 *
 *     npx tsx bench/decode.ts FOLDER [--weights stored,int8,int4] [--tokens 16] [--threads 2]
 */
import fs from 'node:fs';
import { parseArgs } from 'node:util';
import { bytesOf } from '../src/device/device.js';
import { openDevice } from '../src/device/open.js';
import { Session } from '../src/generate/decode.js';
import { loadModel } from '../src/model/checkpoint.js';
import type { LanguageModel } from '../src/model/language-model.js';
import type { WeightStorage } from '../src/model/load-weights.js';
import { median, printTable } from './table.js';
import { measurePeak } from './peak.js';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    weights: { type: 'string', default: 'stored' },
    tokens: { type: 'string', default: '16' },
    threads: { type: 'string' },
  },
});
const [folder] = positionals;
if (folder === undefined) throw new Error('decode: give a model folder: npx tsx bench/decode.ts FOLDER');
const device = await openDevice('cpu', values.threads === undefined ? {} : { threads: Number(values.threads) });

/** Memory of the process by kind, in GB; a mapped file counts as RssFile. NaN where the system does not tell. */
function memory(kind: string): number {
  if (!fs.existsSync('/proc/self/status')) return NaN;
  const match = new RegExp(`${kind}:\\s+(\\d+) kB`).exec(fs.readFileSync('/proc/self/status', 'utf8'));
  return Number(match?.[1] ?? NaN) / 1e6;
}

const argmax = (x: ArrayLike<number>): number => {
  let best = 0;
  for (let k = 1; k < x.length; k++) if (x[k]! > x[best]!) best = k;
  return best;
};

/** Bytes that a token reads: all matrices but the rows of the embedding that are not its own, and the state, read and written. */
const bytesPerToken = ({ tensors, parameterBytes, stateSize }: LanguageModel): number =>
  parameterBytes - bytesOf(device, tensors['embedding.weight']!.buffer) + 8 * stateSize;

async function measure(storage: WeightStorage): Promise<string[]> {
  const begun = performance.now();
  using model = loadModel(folder!, device, { storage }).model;
  const opened = (performance.now() - begun) / 1000;
  using session = new Session(model);
  await session.read(Int32Array.of(1)); // the pages of a mapped file come in
  const seconds: number[] = [];
  const shares: number[] = [];
  for (let k = 0; k < Number(values.tokens); k++) {
    // The machine changes its speed: its bandwidth is measured beside the token.
    const { bandwidth } = measurePeak(0, 0.1);
    const started = performance.now();
    await session.read(Int32Array.of(argmax(session.logits!)));
    seconds.push((performance.now() - started) / 1000);
    shares.push(bytesPerToken(model) / seconds.at(-1)! / bandwidth);
  }
  return [
    storage,
    `${(model.parameterBytes / 1e9).toFixed(2)} GB`,
    `${opened.toFixed(2)} s`,
    `${memory('RssFile').toFixed(2)} GB`,
    `${memory('RssAnon').toFixed(2)} GB`,
    (1 / median(seconds)).toFixed(2),
    `${(bytesPerToken(model) / median(seconds) / 1e9).toFixed(1)} GB/s`,
    `${(100 * median(shares)).toFixed(0)} %`,
  ];
}

console.log(`${folder}, ${device.info.description}`);
const rows: string[][] = [];
for (const storage of values.weights.split(',') as WeightStorage[]) rows.push(await measure(storage));
printTable(['weights', 'bytes', 'opened in', 'mapped', 'own memory', 'tokens/s', 'read', 'of bandwidth'], rows);
