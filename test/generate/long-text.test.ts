/** @file Text of any length: read in pieces to the same state as in one, in memory that does not grow. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { textFile } from '../../src/data/source-files.js';
import { Session } from '../../src/generate/decode.js';
import { readFiles, type ReadProgress } from '../../src/generate/read-files.js';
import { LanguageModel } from '../../src/model/language-model.js';
import { trainBpe } from '../../src/tokens/bpe-train.js';
import { ByteTokenizer } from '../../src/tokens/bytes.js';
import type { Tokenizer } from '../../src/tokens/tokenizer.js';
import { testDevices } from '../support/devices.js';
import { temporaryFolder } from '../support/folders.js';
import { sotuTexts } from '../support/sotu.js';

const device = testDevices().at(-1)!.create();

function modelFor(tokenizer: Tokenizer): LanguageModel {
  const { vocabSize } = tokenizer;
  const blocks = ['mlstm', 'slstm'];
  return LanguageModel.create({ vocabSize, dim: 32, blocks, mlstm: { heads: 2 }, slstm: { heads: 2 } }, device, 1);
}

async function fileOf(text: string) {
  const file = path.join(temporaryFolder(), 'book');
  writeFileSync(file, text);
  return textFile(file);
}

describe.skipIf(device.name !== 'cpu')('on the cpu', () => {
  it('a million bytes: flat memory, of the device and of the process', async () => {
    const tokenizer = new ByteTokenizer();
    using model = modelFor(tokenizer);
    using session = new Session(model);
    const text = sotuTexts().join('').slice(0, 1_000_000);
    const file = await fileOf(text);
    const seen: { tokens: number; held: number; peak: number; resident: number }[] = [];
    const onProgress = ({ tokens }: ReadProgress) => {
      const { bytes: held, peak } = device.memory;
      seen.push({ tokens, held, peak, resident: process.memoryUsage().rss });
      device.memory.resetPeak();
    };
    const { bytes, tokens } = await readFiles(session, tokenizer, [file], { onProgress });
    expect([bytes, tokens, session.position]).toEqual([file.bytes, file.bytes, file.bytes]);
    expect(tokens).toBeGreaterThanOrEqual(1_000_000);

    expect(new Set(seen.map(({ held }) => held)).size).toBe(1);
    expect(new Set(seen.slice(1, -1).map(({ peak }) => peak)).size).toBe(1);
    // The activations of a prefill of 512 tokens (seen: 2.7 MB), not of the million.
    expect(seen[1]!.peak - seen[1]!.held).toBeLessThan(6e6);
    // The process breathes with V8's collections; the activations of the whole text would be gigabytes.
    const early = seen.find((one) => one.tokens >= tokens / 10)!;
    expect(seen.at(-1)!.resident - early.resident).toBeLessThan(32e6);
    console.info(
      `a million bytes: device ${early.held} B held, ${seen[1]!.peak} B at most; process ${early.resident} B at 10 %, ` +
        `${seen.at(-1)!.resident} B at the end`,
    );
  }, 60_000);

  it('in pieces as in one: the same state to the bit', async () => {
    const text = sotuTexts(30).join('\n\n');
    const tokenizer = await trainBpe([text.slice(0, 100_000)], { vocabSize: 600 });
    using model = modelFor(tokenizer);
    const file = await fileOf(text);
    expect(text.length).toBeGreaterThan(1 << 18); // more than one piece
    using pieces = new Session(model);
    let reports = 0;
    await readFiles(pieces, tokenizer, [file], { onProgress: () => reports++ });
    expect(reports).toBeGreaterThan(10);
    using whole = new Session(model);
    await whole.read(tokenizer.encode(text));
    expect(pieces.position).toBe(whole.position);
    expect(pieces.logits).toEqual(whole.logits);
    const [a, b] = [pieces.snapshot().state, whole.snapshot().state];
    for (const [k, tensor] of a.tensors.entries()) expect(await tensor.data()).toEqual(await b.tensors[k]!.data());
    a.dispose();
    b.dispose();
  });

  it('stops between two stretches', async () => {
    const tokenizer = new ByteTokenizer();
    using model = modelFor(tokenizer);
    using session = new Session(model);
    const controller = new AbortController();
    const onProgress = ({ tokens }: ReadProgress) => tokens > 10_000 && controller.abort();
    const file = await fileOf('to be or not to be. '.repeat(5000));
    const { tokens } = await readFiles(session, tokenizer, [file], { onProgress, signal: controller.signal });
    expect(tokens).toBeLessThan(20_000);
    expect(session.position).toBe(tokens);
  });
});
