/** @file States as files: exact to the bit, of one model only; and the fingerprint by which a model is known. */
import fs from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Session } from '../../src/generate/decode.js';
import { loadSession, saveSession } from '../../src/generate/session-file.js';
import { WriteError } from '../../src/model/disk.js';
import { modelFingerprint } from '../../src/model/fingerprint.js';
import { loadModel, saveModel } from '../../src/model/checkpoint.js';
import { LanguageModel } from '../../src/model/language-model.js';
import { openSafetensors, writeSafetensors } from '../../src/model/safetensors.js';
import type { TensorToWrite } from '../../src/model/tensor-array.js';
import type { ModelState } from '../../src/model/state.js';
import { loadState, readStateInfo, saveState } from '../../src/model/state-file.js';
import { randomKey, uniform } from '../../src/tensor/random.js';
import { Trainer } from '../../src/train/trainer.js';
import { referenceDevice, testDevices } from '../support/devices.js';
import { temporaryFolder } from '../support/folders.js';

const V = 29;
const config = {
  vocabSize: V,
  dim: 16,
  blocks: ['mlstm', 'slstm', 'lstm'],
  mlstm: { heads: 2, chunkSize: 4 },
  slstm: { heads: 2, recurrentInit: 'standard' as const },
  lstm: { heads: 2, recurrentInit: 'standard' as const },
};
const tokensOf = (seed: number, length: number) => Int32Array.from(uniform(randomKey(seed), length, 0, V), Math.floor);

async function valuesOf(state: ModelState): Promise<number[][]> {
  return Promise.all(state.tensors.map(async (tensor) => [...(await tensor.data())]));
}

/** A state file of a small model, changed by `change` after it was written. */
async function changedFile(
  model: LanguageModel,
  change: (tensors: TensorToWrite[], metadata: Record<string, string>) => TensorToWrite[],
): Promise<string> {
  const file = path.join(temporaryFolder(), 'a.state');
  using session = new Session(model);
  await session.read(tokensOf(1, 6));
  await saveSession(file, session);
  const { tensors, metadata } = (() => {
    using open = openSafetensors(file);
    const read = [...open.tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape, data: open.read(name) }));
    return { tensors: read, metadata: { ...open.metadata } };
  })();
  await writeSafetensors(file, change(tensors, metadata), metadata);
  return file;
}

describe.each(testDevices())('on $name', ({ create }) => {
  const device = create();
  device.poison = true;

  it('a state comes back to the last bit and goes on to the same logits', async () => {
    using model = LanguageModel.create(config, device, 1);
    const file = path.join(temporaryFolder(), 'a.state');
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 21 }), fc.integer({ min: 1, max: 9 }), async (before, after) => {
        using first = new Session(model);
        await first.read(tokensOf(before, before));
        await saveSession(file, first);
        using second = await loadSession(file, model);
        expect(second.position).toBe(before);
        expect(second.logits).toEqual(first.logits);
        const [here, there] = [first.snapshot().state, second.snapshot().state];
        expect(await valuesOf(there)).toEqual(await valuesOf(here));
        here.dispose();
        there.dispose();
        const rest = tokensOf(100 + after, after);
        await first.read(rest);
        await second.read(rest);
        expect(second.logits).toEqual(first.logits);
      }),
      { numRuns: 15 },
    );
  });

  it('of several sequences', async () => {
    using model = LanguageModel.create(config, device, 1);
    const file = path.join(temporaryFolder(), 'b.state');
    using state = model.initialState(3);
    const values = await valuesOf(state);
    await saveState(file, state, { model, tokens: 0, sequences: 3 });
    expect(readStateInfo(file)).toMatchObject({
      tokens: 0,
      sequences: 3,
      hasLogits: false,
      precision: device.precision,
    });
    using back = (await loadState(file, model)).state;
    expect(await valuesOf(back)).toEqual(values);
    const held = device.memory.bytes;
    await expect(loadSession(file, model)).rejects.toThrow('goes on from the state of one sequence, got one of 3');
    expect(device.memory.bytes).toBe(held);
  });

  it('refuses a state that is not of this model, or damaged, in a sentence', async () => {
    using model = LanguageModel.create(config, device, 1);
    using other = LanguageModel.create(config, device, 2);
    const held = device.memory.bytes;
    const same = await changedFile(model, (tensors) => tensors);
    const own = await modelFingerprint(model);
    const another = await modelFingerprint(other);
    await expect(loadState(same, other)).rejects.toThrow(
      `belongs to the model ${own.slice(0, 12)}, not to this one, which is ${another.slice(0, 12)}`,
    );

    const refused = async (change: Parameters<typeof changedFile>[1], message: string) =>
      expect(loadState(await changedFile(model, change), model), message).rejects.toThrow(message);
    await refused((tensors) => tensors.slice(1), 'it lacks the tensor "');
    await refused((tensors) => [...tensors, { ...tensors[0]!, name: 'x' }], 'it has a tensor "x" too many');
    await refused(
      (tensors) => tensors.map((t) => (t.name === 'blocks.0.n' ? { ...t, shape: [...t.shape].reverse() } : t)),
      'blocks.0.n must be [1,2,32], got [32,2,1]',
    );
    for (const bad of [NaN, Infinity]) {
      await refused((tensors) => {
        const { data } = tensors.find(({ name }) => name === 'blocks.1.cell')!;
        (data as Float32Array)[5] = bad;
        return tensors;
      }, `blocks.1.cell holds ${bad} at element 5`);
    }
    const set = (name: string, value: string) => (tensors: TensorToWrite[], metadata: Record<string, string>) => {
      metadata[name] = value;
      return tensors;
    };
    await refused(set('format', 'pt'), 'not a state but another safetensors file');
    await refused(set('version', '2'), 'a state of version 2, this library reads 1');
    await refused(set('tokens', '-1'), 'its tokens must be a whole number from 0');
    await refused(set('model', 'x'), 'the fingerprint of its model must be 64 hexadecimal digits');
    await refused(set('sequences', '2'), 'must be [2,');
    const text = path.join(temporaryFolder(), 'book.txt');
    fs.writeFileSync(text, 'Once upon a time there was no header.');
    await expect(loadState(text, model)).rejects.toThrow('safetensors');
    expect(device.memory.bytes).toBe(held);
  });

  it('survives any damage: refused in a sentence, or values that can be computed with', async () => {
    using model = LanguageModel.create(config, device, 1);
    const file = await changedFile(model, (tensors) => tensors);
    const whole = fs.readFileSync(file);
    const held = device.memory.bytes;
    let refused = 0;
    const places = fc.integer({ min: 0, max: whole.length - 1 });
    await fc.assert(
      fc.asyncProperty(places, fc.integer({ min: 1, max: 255 }), fc.boolean(), async (at, change, cut) => {
        const damaged = Buffer.from(cut ? whole.subarray(0, at) : whole);
        if (!cut) damaged[at]! ^= change;
        fs.writeFileSync(file, damaged);
        const result = await loadState(file, model).catch((error: Error) => error);
        if (result instanceof Error) {
          refused++;
          expect(result.message).not.toContain('\n');
          expect(result.message).toContain(file);
        } else {
          expect((await valuesOf(result.state)).flat().some((value) => Number.isNaN(value))).toBe(false);
          result.state.dispose();
        }
        expect(device.memory.bytes).toBe(held);
      }),
      { numRuns: 200 },
    );
    expect(refused).toBeGreaterThan(80); // all that are cut, and damage to the header
  });

  it('a diverged state is not written, and the file that was there stands', async () => {
    using model = LanguageModel.create(config, device, 1);
    const file = path.join(temporaryFolder(), 'c.state');
    fs.writeFileSync(file, 'before');
    using state = model.initialState(1);
    device.kernels.fill(state.tensors[0]!.buffer, NaN, 1);
    await expect(saveState(file, state, { model, tokens: 1 })).rejects.toThrow('blocks.0.conv holds NaN at element 0');
    expect(fs.readFileSync(file, 'utf8')).toBe('before');
    using good = model.initialState(1);
    const nowhere = path.join(file, 'd.state');
    await expect(saveState(nowhere, good, { model, tokens: 1 })).rejects.toThrow(WriteError);
  });
});

it('a state of one precision is read in the other', async () => {
  const [reference, cpu] = testDevices().map(({ create }) => create());
  if (cpu === undefined) return;
  using precise = LanguageModel.create(config, reference!, 1);
  using fast = LanguageModel.create(config, cpu, 1);
  const file = path.join(temporaryFolder(), 'a.state');
  using session = new Session(precise);
  await session.read(tokensOf(3, 11));
  await saveSession(file, session);
  expect(readStateInfo(file)).toMatchObject({ precision: 'float64', tokens: 11, hasLogits: true });
  const { state } = await loadState(file, fast);
  const { state: exact } = session.snapshot();
  expect(await valuesOf(state)).toEqual((await valuesOf(exact)).map((values) => values.map(Math.fround)));
});

describe('the fingerprint', () => {
  const device = testDevices().at(-1)!.create();
  const of = async (changes: object, seed = 1) => {
    using model = LanguageModel.create({ ...config, ...changes }, device, seed);
    return await modelFingerprint(model);
  };

  it('is the same for the same numbers: options of speed and training, a saved copy, another precision', async () => {
    using model = LanguageModel.create(config, device, 1);
    const own = await modelFingerprint(model);
    expect(own).toMatch(/^[0-9a-f]{64}$/);
    expect(await of({ mlstm: { heads: 2, chunkSize: 64 }, dropout: 0.5 })).toBe(own);
    const folder = temporaryFolder();
    await saveModel(folder, model, { tokenizer: null });
    using copy = loadModel(folder, referenceDevice()).model;
    expect(await modelFingerprint(copy)).toBe(own);
  });

  it('is another for other weights and for options that change results', async () => {
    const found = await Promise.all([
      of({}),
      of({}, 2),
      of({ normEps: 1e-6 }),
      of({ mlstm: { heads: 2, normalize: false } }),
      of({ blocks: ['mlstm', 'lstm', 'slstm'] }),
    ]);
    expect(new Set(found).size).toBe(found.length);
  });

  it('is another after one step of training, also where only a sample is hashed', async () => {
    using model = LanguageModel.create({ ...config, dim: 192, vocabSize: 300 }, device, 1);
    const before = await modelFingerprint(model);
    const largest = Math.max(...model.parameters.places.map(({ length }) => length));
    expect(largest).toBeGreaterThan(2 * 16384);
    const trainer = new Trainer(model, {
      optimizer: { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, decay: 'matrices' },
      gradientClip: 1,
      checkpointBlocks: false,
      stateful: false,
      key: randomKey(0),
    });
    const batch = { B: 1, T: 8, tokens: tokensOf(1, 8), targets: tokensOf(2, 8), reset: null };
    await trainer.step([batch], 1e-6, 0);
    trainer.dispose();
    expect(await modelFingerprint(model)).not.toBe(before);
  });
});
