/** @file States kept for reuse: the longest beginning, never other tokens, memory then disk then away, nothing left behind. */
import fs from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Session } from '../../src/generate/decode.js';
import { LanguageModel } from '../../src/model/language-model.js';
import type { SavedState } from '../../src/model/state-file.js';
import { StateCache } from '../../src/serve/state-cache.js';
import { testDevices } from '../support/devices.js';

const V = 5; // few tokens: many common beginnings
const config = { vocabSize: V, dim: 8, blocks: ['mlstm', 'slstm'], mlstm: { heads: 2 }, slstm: { heads: 2 } };
const { create } = testDevices().at(-1)!;

async function stateAfter(model: LanguageModel, tokens: Int32Array): Promise<SavedState> {
  using session = new Session(model);
  await session.read(tokens);
  return session.snapshot();
}

async function valuesOf({ state, logits }: SavedState): Promise<number[]> {
  const tensors = await Promise.all(state.tensors.map((tensor) => tensor.data()));
  return [...tensors.flatMap((values) => [...values]), ...logits!];
}

const sequence = fc.array(fc.nat(V - 1), { minLength: 16, maxLength: 24 }).map((list) => Int32Array.from(list));

describe('a cache of states', () => {
  const device = create();

  it.each([
    ['in memory', 1e9, 1e9],
    ['mostly on disk', 1, 1e9],
    ['hardly anywhere', 1, 1],
  ])('%s: what is found is the state of these very tokens', async (_, memoryStates, diskStates) => {
    using model = LanguageModel.create(config, device, 1);
    const before = device.memory.bytes;
    const one = await stateAfter(model, Int32Array.of(1));
    const bytes = one.state.bytes + 200;
    one.state.dispose();
    await fc.assert(
      fc.asyncProperty(fc.array(sequence, { minLength: 1, maxLength: 8 }), sequence, async (kept, asked) => {
        const cache = new StateCache(model, { memory: memoryStates * bytes * 1.5, disk: diskStates * bytes * 1.5 });
        for (const tokens of kept) await cache.keep(tokens, await stateAfter(model, tokens));
        expect(cache.memoryBytes).toBeLessThanOrEqual(memoryStates * bytes * 1.5);
        expect(cache.diskBytes).toBeLessThanOrEqual(diskStates * bytes * 1.5);
        for (const tokens of [...kept.map((list) => Int32Array.from([...list, 0, 1])), asked]) {
          const found = await cache.find(tokens);
          if (found === null) continue;
          const wanted = await stateAfter(model, tokens.subarray(0, found.length));
          expect(found.saved.tokens).toBe(found.length);
          expect(await valuesOf(found.saved)).toEqual(await valuesOf(wanted));
          wanted.state.dispose();
        }
        if (diskStates > 1) expect(await cache.find(Int32Array.from([...kept[0]!, 0]))).not.toBeNull();
        const { folder } = cache;
        cache.dispose();
        expect(fs.existsSync(folder)).toBe(false);
        expect(device.memory.bytes).toBe(before);
      }),
      { numRuns: 15 },
    );
  });

  it('the longest beginning wins; a file that is damaged is a miss', async () => {
    using model = LanguageModel.create(config, device, 1);
    const tokens = Int32Array.from({ length: 40 }, (_, k) => (k * k) % V);
    const cache = new StateCache(model, { memory: 1e6, disk: 1e6 });
    for (const length of [16, 20, 30]) {
      const part = tokens.subarray(0, length);
      await cache.keep(part, await stateAfter(model, part));
    }
    expect((await cache.find(tokens))!.length).toBe(30);
    expect((await cache.find(tokens.subarray(0, 29)))!.length).toBe(20);
    expect((await cache.find(tokens.subarray(0, 20)))!.length).toBe(20);
    expect(await cache.find(tokens.subarray(0, 10))).toBeNull();
    expect([cache.hits, cache.misses]).toEqual([3, 1]);
    cache.dispose();

    const small = await stateAfter(model, tokens);
    const spilling = new StateCache(model, { memory: small.state.bytes + 400, disk: 1e6 });
    small.state.dispose();
    for (const length of [40, 30]) {
      const part = tokens.subarray(0, length);
      await spilling.keep(part, await stateAfter(model, part));
    }
    expect(spilling.diskBytes).toBeGreaterThan(0);
    const [file] = fs.readdirSync(spilling.folder);
    fs.writeFileSync(path.join(spilling.folder, file!), 'nonsense');
    expect((await spilling.find(tokens))!.length).toBe(30);
    spilling.dispose();
  });
});
