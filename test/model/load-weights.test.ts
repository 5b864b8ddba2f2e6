/** @file Models opened to be run: as stored and in place, and packed into bf16, int8 and int4. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WeightFormat } from '../../src/device/kernels.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import { Session } from '../../src/generate/decode.js';
import { loadModel, saveModel, type LoadModelOptions } from '../../src/model/checkpoint.js';
import { modelFingerprint } from '../../src/model/fingerprint.js';
import { LanguageModel } from '../../src/model/language-model.js';
import { normal, randomKey } from '../../src/tensor/random.js';
import { scope } from '../../src/tensor/scope.js';
import { backward } from '../../src/tensor/tape.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { sum } from '../../src/ops/sum.js';
import { relativeRms } from '../support/compare.js';
import { testDevices } from '../support/devices.js';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'xlstm-weights-'));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const V = 67;
const config = {
  vocabSize: V,
  dim: 48,
  blocks: ['mlstmLarge', 'mlstm', 'slstm'],
  mlstm: { heads: 2 },
  slstm: { heads: 2 },
  mlstmLarge: { heads: 2 },
  logitSoftCap: 30,
};
const tokens = Int32Array.from({ length: 21 }, (_, k) => (k * 29 + 3) % V);

beforeAll(async () => {
  using model = LanguageModel.create(config, createReferenceDevice(), 5);
  // The output gate starts at zero: give every parameter something to do.
  const out = normal(randomKey(3), model.tensors['blocks.0.mixer.ogate.weight']!.size, 0, 0.1);
  model.parameters.write('blocks.0.mixer.ogate.weight', out);
  await saveModel(folder, model, { tokenizer: null });
});

async function logitsOf(model: LanguageModel): Promise<Float64Array> {
  using session = new Session(model);
  await session.read(tokens.subarray(0, -1));
  await session.read(tokens.subarray(-1));
  return Float64Array.from(session.logits!);
}

/** Chunkwise and step form, float32 and float64: see state.test.ts. */
const TOLERANCE = { float64: 1e-12, float32: 5e-6 };

describe.each(testDevices())('on $name', ({ create }) => {
  const device = create();
  device.poison = true;
  const open = (options: LoadModelOptions) => loadModel(folder, device, options).model;
  let exact: Float64Array;
  beforeAll(async () => {
    using model = open({});
    exact = await logitsOf(model);
  });

  it('as stored: the same numbers, not to be trained', async () => {
    const before = device.memory.bytes;
    const model = open({ storage: 'stored' });
    expect(relativeRms(await logitsOf(model), exact)).toBeLessThan(TOLERANCE[device.precision]);
    expect(() => model.parameters).toThrow('its weights were opened to be read only');
    model.dispose();
    expect(device.memory.bytes).toBe(before);
  });

  /**
   * Relative RMS of the logits; seen: 0.007, 0.025 and 0.25. In random matrices the formats are off by 0.2 %, 0.6 % and 8 %
   * per weight, and a random model amplifies that some threefold. The definition of the formats is the kernels' business.
   */
  it.each([
    ['bf16', 0.001, 0.015],
    ['int8', 0.005, 0.05],
    ['int4', 0.06, 0.5],
  ] as const)('%s: close to the numbers of floats', async (storage, least, most) => {
    using model = open({ storage });
    const error = relativeRms(await logitsOf(model), exact);
    expect(error).toBeGreaterThan(least);
    expect(error).toBeLessThan(most);
    const packing = model.tensors['blocks.2.feedForward.up.weight']!.packing;
    expect(packing?.format).toBe(WeightFormat[storage]);
    expect(model.tensors['head.weight']!.packing?.format).toBe(WeightFormat[storage === 'int4' ? 'int8' : storage]);
    expect(model.tensors['blocks.1.mixer.q.weight']!.packing).toBeNull();
  });

  it('a packed model computes what a float model of its unpacked values computes', async () => {
    using packed = open({ storage: 'int4', group: 16 });
    using floats = open({});
    for (const [name, tensor] of Object.entries(packed.tensors)) floats.parameters.write(name, await tensor.data());
    expect(relativeRms(await logitsOf(packed), await logitsOf(floats))).toBeLessThan(TOLERANCE[device.precision]);
    expect(await modelFingerprint(packed)).toBe(await modelFingerprint(floats));
    const losses = async (model: LanguageModel) => {
      const result = scope(device, {}, () => {
        const inputs = Tensor.from(device, tokens.subarray(0, -1), [1, 20]);
        return model.losses(inputs, Tensor.from(device, tokens.subarray(1), [1, 20])).losses;
      });
      const data = await result.data();
      result.dispose();
      return data;
    };
    expect(relativeRms(await losses(packed), await losses(floats))).toBeLessThan(TOLERANCE[device.precision]);
  });

  it('a gradient through a packed matrix is refused', () => {
    using model = open({ storage: 'int8' });
    const run = () =>
      scope(device, { record: true }, () => {
        const hidden = Tensor.from(device, new Float64Array(48), [1, 48]);
        hidden.requiresGrad = true;
        backward(sum(model.logits(hidden)));
      });
    expect(run).toThrow('a packed weight has no gradient');
  });

  it('says which parameter is missing or foreign', async () => {
    const other = fs.mkdtempSync(path.join(folder, 'other-'));
    using model = LanguageModel.create({ ...config, blocks: ['slstm'] }, device);
    await saveModel(other, model, { tokenizer: null });
    const file = path.join(other, 'config.json');
    const text = fs.readFileSync(file, 'utf8');
    const withTwo = { ...(JSON.parse(text) as { model: object }), model: { ...config, blocks: ['slstm', 'slstm'] } };
    fs.writeFileSync(file, JSON.stringify(withTwo));
    for (const options of [{}, { storage: 'stored' }] as const) {
      expect(() => loadModel(other, device, options)).toThrow(/lacks "blocks\.1\./);
    }
    fs.writeFileSync(file, JSON.stringify({ ...withTwo, model: { ...config, blocks: ['slstm'], tieWeights: true } }));
    expect(() => loadModel(other, device, { storage: 'stored' })).toThrow('holds "head.weight", which a model of this');
  });
});
