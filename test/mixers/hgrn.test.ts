/**
 * @file The lower bounds of HGRN and HGRN2: one table for all blocks of the kind, against the formula in plain numbers, in a
 * model with other blocks between; in a step as in a sequence, with and without checkpointing.
 */
import { describe, expect, it } from 'vitest';
import type { ParameterTensors } from '../../src/layers/parameter.js';
import { lowerBound } from '../../src/mixers/lower-bounds.js';
import type { SharedValues } from '../../src/mixers/mixer.js';
import { Backbone } from '../../src/model/backbone.js';
import { loadModel, saveModel } from '../../src/model/checkpoint.js';
import { modelConfigSchema } from '../../src/model/config.js';
import { LanguageModel } from '../../src/model/language-model.js';
import { activate } from '../../src/ops/elementwise.js';
import { normal, randomKey } from '../../src/tensor/random.js';
import { scope } from '../../src/tensor/scope.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { BackboneCase } from '../support/backbone-case.js';
import { relativeRms } from '../support/compare.js';
import { referenceDevice, testDevices } from '../support/devices.js';
import { temporaryFolder } from '../support/folders.js';

/** cumsum(softmax(table over its rows)) minus its first row: bounds [count,D]. */
function boundsOf(table: Float64Array, count: number, D: number): Float64Array {
  const bounds = new Float64Array(count * D);
  for (let d = 0; d < D; d++) {
    const column = Array.from({ length: count }, (_, k) => table[k * D + d]!);
    const largest = Math.max(...column);
    const exps = column.map((x) => Math.exp(x - largest));
    const total = exps.reduce((a, b) => a + b);
    let sum = 0;
    exps.forEach((x, k) => {
      sum += x / total;
      bounds[k * D + d] = sum - exps[0]! / total;
    });
  }
  return bounds;
}

describe.each(testDevices())('$name: the bounds', ({ create, name }) => {
  const D = 5;

  /** The bounds of the blocks from 1 on, by the mixers' own means. */
  async function bounds(table: Float64Array, count: number): Promise<Float64Array> {
    const device = create();
    const placeOf = (kindIndex: number) => ({ dim: D, kindIndex, kindBlocks: count });
    const found = scope(device, {}, () => {
      const p: ParameterTensors = { bounds: Tensor.from(device, table, [count, D]) };
      const shared: SharedValues = new Map();
      expect(lowerBound('hgrn', p, placeOf(0), shared)).toBeNull();
      return Object.fromEntries(
        Array.from({ length: count - 1 }, (_, k) => {
          const logit = lowerBound('hgrn', {}, placeOf(k + 1), shared)!;
          return [`${k + 1}`, activate(logit, 'sigmoid')];
        }),
      );
    });
    const rows = await Promise.all(Object.values(found).map((x) => x.data()));
    for (const x of Object.values(found)) x.dispose();
    return Float64Array.from(rows.flatMap((row) => [...row]));
  }

  it.each([2, 3, 6])('are those of the formula for %i blocks', async (count) => {
    const table = normal(randomKey(count), count * D, 0, 2);
    const expected = boundsOf(table, count, D).subarray(D);
    expect(relativeRms(await bounds(table, count), expected)).toBeLessThan(name === 'reference' ? 1e-14 : 1e-6);
  });

  it('are finite for logits far apart', async () => {
    const table = Float64Array.from({ length: 4 * D }, (_, k) => [500, -300, 900, 0, 40][(k * 3) % 5]!);
    const [found, expected] = [await bounds(table, 4), boundsOf(table, 4, D).subarray(D)];
    // A logit of 900 is known to 6e-5 in float32, the bound to a quarter of that.
    const tolerance = name === 'reference' ? 1e-12 : 1.6e-5;
    found.forEach((x, k) => expect(Math.abs(x - expected[k]!)).toBeLessThan(tolerance));
  });

  it('rise in equal steps at first', async () => {
    const found = await bounds(new Float64Array(4 * D), 4);
    found.forEach((x, k) => expect(x).toBeCloseTo((1 + Math.floor(k / D)) / 4, 6));
  });
});

describe.each(['hgrn', 'hgrn2'])('%s in a model', (kind) => {
  const config = {
    dim: 8,
    blocks: ['slstm', kind, 'attention', kind, kind],
    slstm: { heads: 2 },
    attention: { heads: 2 },
    hgrn2: { headWidth: 4 },
    feedForward: { roundTo: 8 },
  };
  const model = new BackboneCase(config);

  it('has one table, in its first block, of a row per block of the kind', () => {
    const tables = Object.entries(model.backbone.parameters).filter(([name]) => name.endsWith('.bounds'));
    expect(tables.map(([name, { shape, decay }]) => [name, shape, decay])).toEqual([
      ['blocks.1.mixer.bounds', [3, 8], false],
    ]);
    const without = modelConfigSchema.parse({ ...config, [kind]: { lowerBounds: false } });
    for (const other of [without, modelConfigSchema.parse({ dim: 8, blocks: [kind], hgrn2: { headWidth: 4 } })]) {
      expect(Object.keys(new Backbone(other).parameters).filter((name) => name.endsWith('.bounds'))).toEqual([]);
    }
  });

  it('back-propagates from all blocks to the table', () => model.expectGradient('blocks.1.mixer.bounds'));

  it.each(testDevices())('$name: checkpointing changes no gradient', ({ create }) =>
    model.expectCheckpointing(create()),
  );

  it.each(testDevices())('$name: step by step is the sequence', ({ create }) => model.expectSteps(create()));
});

it.each(['hgrn', 'hgrn2'])('%s: the table is saved and loaded with the model', async (kind) => {
  const config = {
    vocabSize: 11,
    dim: 8,
    blocks: [kind, kind, kind],
    hgrn2: { headWidth: 4 },
    feedForward: { roundTo: 8 },
  };
  using model = LanguageModel.create(config, referenceDevice(), 1);
  const table = normal(randomKey(2), 3 * 8);
  model.parameters.write('blocks.0.mixer.bounds', table);
  const folder = temporaryFolder();
  await saveModel(folder, model, { tokenizer: null });
  using loaded = loadModel(folder, referenceDevice()).model;
  const logits = async (of: LanguageModel): Promise<number[]> => {
    const y = scope(of.device, {}, () => {
      const tokens = Tensor.from(of.device, Int32Array.from([1, 5, 7, 10, 0, 3]), [1, 6]);
      return of.logits(of.forward(tokens).hidden);
    });
    const data = [...(await y.data())];
    y.dispose();
    return data;
  };
  const before = await logits(model);
  expect(relativeRms(Float64Array.from(await logits(loaded)), Float64Array.from(before))).toBeLessThan(1e-6);
  // The bounds matter for what the model says.
  model.parameters.write('blocks.0.mixer.bounds', new Float64Array(3 * 8));
  expect(relativeRms(Float64Array.from(await logits(model)), Float64Array.from(before))).toBeGreaterThan(1e-3);
});

it('two kinds in one model have a table each', () => {
  const blocks = ['hgrn', 'hgrn2', 'hgrn', 'hgrn2'];
  const { parameters } = new Backbone(modelConfigSchema.parse({ dim: 8, blocks, hgrn2: { headWidth: 4 } }));
  expect(Object.keys(parameters).filter((name) => name.endsWith('.bounds'))).toEqual([
    'blocks.0.mixer.bounds',
    'blocks.1.mixer.bounds',
  ]);
});

it('a later block alone says whose bound it needs', () =>
  expect(() => lowerBound('hgrn', {}, { dim: 4, kindIndex: 1, kindBlocks: 2 }, undefined)).toThrow(
    'hgrn: the lower bound comes from the first hgrn block; run that before',
  ));
