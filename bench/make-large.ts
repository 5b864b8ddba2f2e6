/**
 * @file Writes a checkpoint of xLSTM Large with random weights, as Hugging Face has it (bf16, shards, index): the size of
 * xLSTM-7B or any other, to measure opening, memory and speed without the real weights.
 *
 *     npx tsx bench/make-large.ts FOLDER [--dim 4096] [--blocks 32] [--heads 8] [--vocab 50304] [--seed 0]
 */
import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { formatBytes, formatCount } from '../src/format.js';
import { initialValues } from '../src/layers/parameter.js';
import { modelConfigSchema } from '../src/model/config.js';
import { fromFloat32 } from '../src/model/float-formats.js';
import { jsonText } from '../src/model/formats/convert.js';
import { largeTensors, writeLargeConfig } from '../src/model/formats/large.js';
import { parameterTable } from '../src/model/language-model.js';
import { presetConfig } from '../src/model/presets.js';
import { writeTensors } from '../src/model/safetensors-shards.js';
import type { TensorToWrite } from '../src/model/tensor-array.js';
import { fold, normal, randomKey } from '../src/tensor/random.js';
import { size } from '../src/tensor/shape.js';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    dim: { type: 'string', default: '4096' },
    blocks: { type: 'string', default: '32' },
    heads: { type: 'string', default: '8' },
    vocab: { type: 'string', default: '50304' },
    seed: { type: 'string', default: '0' },
  },
});
const [folder] = positionals;
if (folder === undefined || fs.existsSync(folder)) {
  throw new Error(
    'make-large: give a folder that is not there yet: npx tsx bench/make-large.ts FOLDER [--blocks 32 ...]',
  );
}

const config = modelConfigSchema.parse({
  ...presetConfig('xlstm-large-7b'),
  vocabSize: Number(values.vocab),
  dim: Number(values.dim),
  blocks: Array.from({ length: Number(values.blocks) }, () => 'mlstmLarge'),
  mlstmLarge: { heads: Number(values.heads) },
});
const key = randomKey(Number(values.seed));

/** Standard normal numbers, drawn once: tensors are stretches of them, each begun elsewhere. Billions would take minutes. */
const POOL = normal(fold(key, 'pool'), 1 << 20);
const PIECE = 1 << 16;

/** A matrix of random numbers; gates and output gates as well, which start at zero in training and would hide errors. */
async function* randomPieces(name: string, length: number, std: number) {
  const pool = fromFloat32(
    Float32Array.from(POOL, (x) => x * std),
    'BF16',
  ) as Uint16Array<ArrayBuffer>;
  let at = fold(key, name)[0];
  for (let done = 0; done < length; done += PIECE) {
    at = (Math.imul(at, 1664525) + 1013904223) >>> 0;
    const begin = at % (POOL.length - PIECE);
    yield pool.subarray(begin, begin + Math.min(PIECE, length - done));
  }
}

const table = parameterTable(config);
const total = Object.values(table).reduce((sum, { shape }) => sum + size(shape), 0);
let written = 0;
let shown = 0;

const tensors = largeTensors(config, table, 'hf', 'single').map(({ name, shape, parts }): TensorToWrite => {
  const data = async function* () {
    for (const part of parts) {
      const spec = table[part]!;
      const length = size(spec.shape);
      if (spec.shape.length === 2) yield* randomPieces(part, length, Math.sqrt(2 / (5 * config.dim)));
      else yield fromFloat32(Float32Array.from(initialValues(spec, key)), 'BF16') as Uint16Array<ArrayBuffer>;
      written += length;
      if (Date.now() - shown < 2000) continue;
      shown = Date.now();
      process.stderr.write(`${Math.floor((100 * written) / total)} %\n`);
    }
  };
  return { name, shape, dtype: 'BF16', data };
});

fs.mkdirSync(folder, { recursive: true });
const bytes = await writeTensors(folder, tensors, { metadata: { format: 'pt' } });
const fields = { ...writeLargeConfig(config, 'hf', 'single'), dtype: 'bfloat16' };
fs.writeFileSync(path.join(folder, 'config.json'), jsonText(fields));
process.stdout.write(`${folder}: ${formatCount(total)} parameters, ${formatBytes(bytes)}\n`);
