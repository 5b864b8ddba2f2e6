/**
 * @file RWKV-7 in a model: the values of the first block reach the others, in a sequence and in a step, with and without
 * checkpointing, and back-propagation follows them; its channel mix; its initial values.
 */
import { expect, it, test } from 'vitest';
import { initialValues } from '../../src/layers/parameter.js';
import { Backbone } from '../../src/model/backbone.js';
import { modelConfigSchema } from '../../src/model/config.js';
import { randomKey } from '../../src/tensor/random.js';
import { BackboneCase } from '../support/backbone-case.js';
import { testDevices } from '../support/devices.js';

// Another mixer stands before and between: the first rwkv7 block is not the first of the model.
const model = new BackboneCase({
  dim: 12,
  blocks: ['slstm', 'rwkv7', 'attention', 'rwkv7', 'rwkv7'],
  attention: { heads: 2 },
  rwkv7: { headDim: 4, decayRank: 3, rateRank: 3, valueRank: 3, gateRank: 5 },
  feedForward: { roundTo: 8 },
});

const FIRST_VALUES = 'blocks.1.mixer.values.weight';
const OTHERS = ['blocks.3.mixer.valueUp.bias', 'blocks.3.mixer.valueDown.weight', 'blocks.4.mixer.valueUp.weight'];

it.each([FIRST_VALUES, ...OTHERS])('back-propagates to %s', (name) => model.expectGradient(name));

it.each(testDevices())('$name: checkpointing changes no gradient', ({ create }) => model.expectCheckpointing(create()));

it.each(testDevices())('$name: step by step is the sequence', ({ create }) => model.expectSteps(create()));

test('initial values: slow and fast decays, rates near one half, no output; no value map in the first block', () => {
  const table = new Backbone(modelConfigSchema.parse({ dim: 128, blocks: ['rwkv7', 'rwkv7', 'rwkv7'] })).parameters;
  const of = (name: string) => initialValues(table[name]!, randomKey(1));
  const decays = of('blocks.0.mixer.decayUp.bias');
  // Channel d of 128 in heads of 64: -6 + 6 d / 127 + 0.5 + 2.5 zigzag
  expect(decays[0]).toBeCloseTo(-6 + 0.5 - 2.5, 12);
  expect(decays[127]).toBeCloseTo(0.5 + 2.5, 12);
  expect(decays[63]).toBeCloseTo(-6 + (6 * 63) / 127 + 3, 12);
  expect(of('blocks.2.mixer.decayUp.bias')[63]).toBeCloseTo(-6 + 6 * (63 / 127) ** 2 + 3, 12);
  expect(of('blocks.0.mixer.rateUp.bias')[127]).toBeCloseTo(-0.19 + 0.3 + 0.2, 12);
  expect(of('blocks.1.mixer.valueUp.bias')[0]).toBeCloseTo(0.73 + 0.2, 12);
  expect(Object.keys(table).filter((name) => name.startsWith('blocks.0.mixer.value'))).toEqual([
    'blocks.0.mixer.valueShift',
    'blocks.0.mixer.values.weight',
  ]);
  expect(table['blocks.1.mixer.gateDown.weight']!.shape).toEqual([64, 128]); // 5 sqrt(128) = 57 to a multiple of 32
  expect(table['blocks.1.mixer.valueDown.weight']!.shape).toEqual([32, 128]);
  expect(of('blocks.1.mixer.out.weight').every((x) => x === 0)).toBe(true);
  expect(of('blocks.1.mixer.cellNorm.weight')[0]).toBeCloseTo((2 / 3) ** 0.7, 12);
  expect(of('blocks.1.mixer.keyShift')[64]).toBeCloseTo(0.5 ** (0.7 * (2 / 3)), 12);
  expect(Object.keys(table).filter((name) => name.startsWith('blocks.1.channelMix'))).toEqual([
    'blocks.1.channelMix.keyShift',
    'blocks.1.channelMix.key.weight',
    'blocks.1.channelMix.value.weight',
  ]);
});
