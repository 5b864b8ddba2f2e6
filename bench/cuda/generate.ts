/**
 * @file Times generation as `xlstm generate` and `xlstm serve` do it, sampling included, with xLSTM Large of random bf16
 * weights on a GPU: `npx tsx bench/cuda/generate.ts [--dim 768] [--blocks 12] [--heads 4] [--vocab 50304] [--batch 1,4,8]
 * [--prompt 2048] [--tokens 200]`. It first shows that recorded steps say the same as plain ones: the same tokens.
 */
import { parseArgs } from 'node:util';
import { createCudaDevice } from '../../src/device/cuda/cuda.js';
import type { Device } from '../../src/device/device.js';
import { Engine } from '../../src/generate/engine.js';
import type { LanguageModel } from '../../src/model/language-model.js';
import { formatCount } from '../../src/format.js';
import { median, printTable } from '../table.js';
import { large, randomModel, sizeOptions } from './large.js';

const { values } = parseArgs({
  options: {
    ...sizeOptions(768, 12, 4),
    batch: { type: 'string', default: '1,4,8' },
    prompt: { type: 'string', default: '2048' },
    tokens: { type: 'string', default: '200' },
  },
});

const promptOf = (seed: number, T: number, V: number): Int32Array =>
  Int32Array.from({ length: T }, (_, t) => (t * 7919 + 13 * seed) % V);

interface Outcome {
  readonly texts: number[][];
  /** Milliseconds until each sequence had its first token, and between two tokens of the first one. */
  readonly first: number[];
  readonly between: number[];
}

/** B sequences at once, as the server has them. */
async function generate(
  model: LanguageModel,
  B: number,
  T: number,
  count: number,
  temperature: number,
): Promise<Outcome> {
  const engine = new Engine(model, { maxBatch: B });
  const started = performance.now();
  const [first, between]: [number[], number[]] = [[], []];
  const texts = await Promise.all(
    Array.from({ length: B }, async (_, seed) => {
      const text: number[] = [];
      let last = started;
      const tokens = promptOf(seed, T, model.config.vocabSize);
      for await (const event of engine.submit({
        tokens,
        maxTokens: count,
        sampling: { temperature, topP: 0.95, seed },
      })) {
        if (event.kind !== 'token') continue;
        const now = performance.now();
        if (text.length === 0) first.push(now - started);
        else if (seed === B - 1) between.push(now - last);
        last = now;
        text.push(event.sample.token);
      }
      return text;
    }),
  );
  await engine.close();
  return { texts, first, between };
}

/** @throws Error where recorded steps lead to other tokens than plain ones. */
async function prove(device: Device): Promise<void> {
  const config = large(256, 2, 2, 300);
  const plain = Object.create(device, { recorder: { value: undefined } }) as Device;
  const [ours, expected] = await Promise.all(
    [device, plain].map(async (one) => (await generate(randomModel(one, config), 3, 20, 60, 1)).texts.join(' ')),
  );
  console.log(`recorded steps lead to the tokens of plain ones: ${ours === expected}`);
  if (ours !== expected) throw new Error(`${ours}\nexpected ${expected}`);
}

const device = createCudaDevice();
console.log(device.info.description);
await prove(device);
const [dim, blocks, heads, vocab, T, count] = (['dim', 'blocks', 'heads', 'vocab', 'prompt', 'tokens'] as const).map(
  (name) => Number(values[name]),
) as [number, number, number, number, number, number];
using model = randomModel(device, large(dim, blocks, heads, vocab));
console.log(`${formatCount(model.parameterCount)} parameters, prompts of ${formatCount(T)} tokens`);
await generate(model, 2, T, 4, 0.8);
const rows: string[][] = [];
for (const B of values.batch.split(',').map(Number)) {
  for (const temperature of [0, 0.8]) {
    const { first, between } = await generate(model, B, T, count, temperature);
    const [prompt] = first as [number];
    const ms = median(between.slice(5));
    rows.push([
      String(B),
      String(temperature),
      prompt.toFixed(1),
      formatCount((1e3 * T) / prompt),
      ms.toFixed(2),
      formatCount((1e3 * B) / ms),
    ]);
  }
}
printTable(['sequences', 'temperature', 'first token ms', 'prompt tokens/s', 'ms per step', 'tokens/s'], rows);
