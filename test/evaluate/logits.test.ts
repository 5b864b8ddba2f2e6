/** @file Logits of given tokens: both forms agree, in stretches as at once, and the file holds what was computed. */
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { logitsOf, topTokens, writeLogits } from '../../src/evaluate/logits.js';
import { checkTokens, parseTokens, readTokensFile } from '../../src/evaluate/token-input.js';
import { LanguageModel } from '../../src/model/language-model.js';
import { openSafetensors, writeSafetensors } from '../../src/model/safetensors.js';
import { randomKey, uniform } from '../../src/tensor/random.js';
import { scope } from '../../src/tensor/scope.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { relativeRms } from '../support/compare.js';
import { testDevices } from '../support/devices.js';
import { temporaryFolder } from '../support/folders.js';

const V = 19;
const config = { vocabSize: V, dim: 16, blocks: ['mlstm', 'slstm'], mlstm: { heads: 2 }, slstm: { heads: 2 } };
const tokensOf = (seed: number, length: number) => Int32Array.from(uniform(randomKey(seed), length, 0, V), Math.floor);

async function all(model: LanguageModel, tokens: Int32Array, step: boolean): Promise<number[]> {
  const out: number[] = [];
  for await (const { start, logits } of logitsOf(model, tokens, { step })) {
    expect(out.length).toBe(start * V);
    out.push(...logits);
  }
  return out;
}

describe.each(testDevices())('on $name', ({ create }) => {
  const device = create();
  device.poison = true;

  it('in stretches, by steps and at once they are the same', async () => {
    using model = LanguageModel.create(config, device, 1);
    const T = device.name === 'cpu' ? 1100 : 40; // more than one stretch, where that does not take long
    const tokens = tokensOf(1, T);
    const whole = scope(device, {}, () => model.logits(model.forward(Tensor.from(device, tokens, [1, T])).hidden));
    const expected = await whole.data();
    whole.dispose();
    const held = device.memory.bytes;
    // Seen: 0 on the reference, 8e-7 by steps on the cpu.
    const tolerance = device.precision === 'float64' ? 1e-12 : 5e-6;
    expect(relativeRms(await all(model, tokens, false), expected)).toBeLessThan(tolerance);
    expect(relativeRms(await all(model, tokens, true), expected)).toBeLessThan(tolerance);
    expect(device.memory.bytes).toBe(held);
  });

  it('the file holds float32 [B,T,V] in the order of the sequences', async () => {
    using model = LanguageModel.create(config, device, 1);
    const file = path.join(temporaryFolder(), 'l.safetensors');
    const sequences = [tokensOf(1, 7), tokensOf(2, 7), tokensOf(3, 7)];
    await writeLogits(file, model, sequences, { step: true });
    using open = openSafetensors(file);
    expect(open.tensors.get('logits')).toMatchObject({ dtype: 'F32', shape: [3, 7, V] });
    expect(open.metadata).toMatchObject({ form: 'step', model: expect.stringMatching(/^[0-9a-f]{64}$/) as string });
    const expected = [];
    for (const tokens of sequences) expected.push(...(await all(model, tokens, true)));
    expect([...open.readFloat32('logits')]).toEqual(expected.map(Math.fround));
    await expect(writeLogits(file, model, [tokensOf(1, 7), tokensOf(1, 6)])).rejects.toThrow(
      'sequence 0 has 7 tokens and sequence 1 has 6',
    );
  });

  it('a pending abort ends it and frees the state', async () => {
    using model = LanguageModel.create(config, device, 1);
    const held = device.memory.bytes;
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(logitsOf(model, tokensOf(1, 5), { signal }).next()).rejects.toThrow('enough');
    expect(device.memory.bytes).toBe(held);
  });
});

it('the most probable tokens, ties by their numbers', () => {
  const logits = Float32Array.of(1, 5, -Infinity, 5, 3, 7);
  expect(topTokens(logits, 4).map(({ token }) => token)).toEqual([5, 1, 3, 4]);
  expect(topTokens(logits, 10).length).toBe(6);
});

describe('token ids', () => {
  it('are read from text, a sequence a line, and from tensors', async () => {
    expect(parseTokens('1,2, 3\n\n 4 5\t6,\n', 'x').map((row) => [...row])).toEqual([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    const folder = temporaryFolder();
    const text = path.join(folder, 'ids.txt');
    fs.writeFileSync(text, '7 8\n9 10\n');
    expect(readTokensFile(text).map((row) => [...row])).toEqual([
      [7, 8],
      [9, 10],
    ]);
    const file = path.join(folder, 'ids.safetensors');
    await writeSafetensors(file, [
      { name: 'tokens', dtype: 'I64', shape: [2, 2], data: BigInt64Array.of(7n, 8n, 9n, 10n) },
    ]);
    expect(readTokensFile(file).map((row) => [...row])).toEqual([
      [7, 8],
      [9, 10],
    ]);
    await writeSafetensors(file, [{ name: 'tokens', dtype: 'I32', shape: [3], data: Int32Array.of(7, 8, 9) }]);
    expect(readTokensFile(file).map((row) => [...row])).toEqual([[7, 8, 9]]);
  });

  it('that are none are refused in a sentence', async () => {
    for (const bad of ['1,x', '1.5', '-1', '3000000000', '0x1', '1e3']) {
      expect(() => parseTokens(bad, '--tokens')).toThrow('is not a token id, a whole number from 0');
    }
    expect(() => parseTokens('1\n2 a', 'f')).toThrow('f, line 2: "a" is not a token id');
    expect(() => parseTokens(' \n', '--tokens')).toThrow('--tokens: there are no token ids; write them as 1,2,3');
    expect(() => checkTokens([Int32Array.of(1, 19)], V)).toThrow(
      'token 19 at position 1 is not in the vocabulary of 19',
    );
    expect(() => checkTokens([Int32Array.of(1), Int32Array.of(99)], V)).toThrow('sequence 1, position 0');
    expect(() => checkTokens([new Int32Array((1 << 24) + 1)], V)).toThrow('too many at once, the limit is 16777216');
    const file = path.join(temporaryFolder(), 'a.safetensors');
    const refused = async (
      tensor: { name?: string; dtype?: 'F32' | 'I64'; shape: number[]; data: Float32Array | BigInt64Array },
      message: string,
    ) => {
      await writeSafetensors(file, [{ name: 'tokens', dtype: 'I64', ...tensor } as never]);
      expect(() => readTokensFile(file)).toThrow(message);
    };
    await refused({ shape: [1], data: BigInt64Array.of(-5n) }, 'tokens holds -5 at element 0');
    await refused({ shape: [1], data: BigInt64Array.of(1n << 40n) }, 'which is no token id');
    await refused({ shape: [1, 1, 1], data: BigInt64Array.of(1n) }, 'tokens must be [B,T] or [T]');
    await refused({ shape: [0], data: BigInt64Array.of() }, 'and not empty');
    await refused({ dtype: 'F32', shape: [1], data: Float32Array.of(1) }, 'tokens must be I64 or I32, got F32');
    await refused({ name: 'ids', shape: [1], data: BigInt64Array.of(1n) }, 'has no tensor "tokens"; it has ids');
  });
});
