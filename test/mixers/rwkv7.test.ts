/**
 * @file RWKV-7 in a model: the values of the first block reach the others, in a sequence and in a step, with and without
 * checkpointing, and back-propagation follows them; its channel mix; its initial values.
 */
import { expect, it, test } from 'vitest';
import type { Device } from '../../src/device/device.js';
import { initialValues, type ParameterTensors } from '../../src/layers/parameter.js';
import { Backbone } from '../../src/model/backbone.js';
import { modelConfigSchema } from '../../src/model/config.js';
import { fold, normal, randomKey } from '../../src/tensor/random.js';
import { scope } from '../../src/tensor/scope.js';
import { size } from '../../src/tensor/shape.js';
import { backward } from '../../src/tensor/tape.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { relativeRms } from '../support/compare.js';
import { referenceDevice, testDevices } from '../support/devices.js';

const [B, T, D] = [2, 7, 12];
// Another mixer stands before and between: the first rwkv7 block is not the first of the model.
const config = modelConfigSchema.parse({
  vocabSize: 1,
  dim: D,
  blocks: ['slstm', 'rwkv7', 'attention', 'rwkv7', 'rwkv7'],
  attention: { heads: 2 },
  rwkv7: { headDim: 4, decayRank: 3, rateRank: 3, valueRank: 3, gateRank: 5 },
  feedForward: { roundTo: 8 },
});
const backbone = new Backbone(config);

/** Initial values with noise, since many are zero. */
function drawParameters(): Map<string, Float64Array> {
  const values = Object.entries(backbone.parameters).map(([name, spec]) => {
    const key = fold(randomKey(5), name);
    const noise = normal(fold(key, 'noise'), size(spec.shape), 0, 0.2);
    return [name, initialValues(spec, key).map((x, k) => x + noise[k]!)] as const;
  });
  return new Map(values);
}

const tensorsOn = (device: Device, values: ReadonlyMap<string, Float64Array>): ParameterTensors =>
  Object.fromEntries(
    [...values].map(([name, data]) => [name, Tensor.from(device, data, backbone.parameters[name]!.shape)]),
  );

const input = normal(randomKey(6), B * T * D);
const cotangent = normal(randomKey(7), B * T * D);

async function read(tensors: Readonly<Record<string, Tensor>>): Promise<Map<string, Float64Array>> {
  const entries = await Promise.all(
    Object.entries(tensors).map(async ([name, x]) => [name, Float64Array.from(await x.data())] as const),
  );
  for (const x of Object.values(tensors)) x.dispose();
  return new Map(entries);
}

/** The result "y", and the gradients of the parameters by name. */
const run = (device: Device, values: ReadonlyMap<string, Float64Array>, checkpointBlocks: boolean) =>
  read(
    scope(device, { record: true }, () => {
      const p = tensorsOn(device, values);
      for (const tensor of Object.values(p)) tensor.requiresGrad = true;
      const { hidden } = backbone.forward(p, Tensor.from(device, input, [B, T, D]), { checkpointBlocks });
      backward([[hidden, Tensor.from(device, cotangent, hidden.shape)]]);
      const gradients = Object.entries(p).map(([name, tensor]) => [name, tensor.gradTensor()]);
      return { y: hidden, ...(Object.fromEntries(gradients) as Record<string, Tensor>) };
    }),
  );

const FIRST_VALUES = 'blocks.1.mixer.values.weight';
const OTHERS = ['blocks.3.mixer.valueUp.bias', 'blocks.3.mixer.valueDown.weight', 'blocks.4.mixer.valueUp.weight'];

it.each([FIRST_VALUES, ...OTHERS])('back-propagates to %s', async (name) => {
  const device = referenceDevice();
  const values = drawParameters();
  const gradient = (await run(device, values, false)).get(name)!;
  const along = normal(randomKey(8), gradient.length);
  const project = async (by: number): Promise<number> => {
    const moved = new Map(values).set(
      name,
      values.get(name)!.map((x, k) => x + by * along[k]!),
    );
    const y = (await run(device, moved, false)).get('y')!;
    return y.reduce((sum, x, k) => sum + x * cotangent[k]!, 0);
  };
  const numeric = ((await project(1e-5)) - (await project(-1e-5))) / 2e-5;
  const exact = gradient.reduce((sum, x, k) => sum + x * along[k]!, 0);
  expect(Math.abs(exact)).toBeGreaterThan(1e-4);
  expect(Math.abs(numeric - exact) / Math.abs(exact)).toBeLessThan(1e-6);
});

it.each(testDevices())('$name: checkpointing changes no gradient', async ({ create }) => {
  const [device, values] = [create(), drawParameters()];
  device.poison = true;
  const [whole, again] = [await run(device, values, false), await run(device, values, true)];
  for (const [name, expected] of whole) expect(relativeRms(again.get(name)!, expected), name).toBeLessThan(1e-5);
  expect(device.memory.bytes).toBe(0);
});

it.each(testDevices())('$name: step by step is the sequence', async ({ create, name }) => {
  const [device, values] = [create(), drawParameters()];
  device.poison = true;
  const y = (await run(device, values, false)).get('y')!;
  const p = tensorsOn(device, values);
  let state = backbone.initialState(device, B);
  for (let t = 0; t < T; t++) {
    const rows = Array.from({ length: B }, (_, b) => input.subarray((b * T + t) * D, (b * T + t + 1) * D));
    const x = Float64Array.from(rows.flatMap((row) => [...row]));
    const { hidden, next } = scope(device, {}, () => {
      const step = backbone.step(p, Tensor.from(device, x, [B, D]), state, { inPlace: true });
      return { hidden: step.hidden, next: step.state.detach() };
    });
    const got = await hidden.data();
    const expected = Array.from({ length: B }, (_, b) => y.subarray((b * T + t) * D, (b * T + t + 1) * D));
    expect(relativeRms(Float64Array.from(got), Float64Array.from(expected.flatMap((row) => [...row])))).toBeLessThan(
      name === 'reference' ? 1e-12 : 1e-5,
    );
    hidden.dispose();
    state = next;
  }
});

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
