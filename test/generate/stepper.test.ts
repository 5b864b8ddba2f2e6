/** @file Steps that were recorded and are replayed say what plain steps say; prompts are read in bf16 where all is bf16. */
import { describe, expect, it } from 'vitest';
import { WeightFormat } from '../../src/device/kernels.js';
import type { Device, FloatArray } from '../../src/device/device.js';
import { packedRowBytes } from '../../src/device/packing.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import { decode, Session } from '../../src/generate/decode.js';
import { Stepper } from '../../src/generate/stepper.js';
import { LanguageModel, parameterTable } from '../../src/model/language-model.js';
import { FrozenParameters } from '../../src/model/parameters.js';
import { randomKey, uniform } from '../../src/tensor/random.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { relativeRms } from '../support/compare.js';
import { recordingDevice } from '../support/recording.js';

const V = 37;
const config = {
  vocabSize: V,
  dim: 24,
  blocks: ['mlstm', 'slstm', 'lstm', 'mlstmLarge'],
  mlstm: { heads: 2 },
  slstm: { heads: 2 },
  lstm: { heads: 3 },
  mlstmLarge: { heads: 2 },
};
const tokensOf = (seed: number, length: number) => Int32Array.from(uniform(randomKey(seed), length, 0, V), Math.floor);

async function text(device: Device): Promise<number[]> {
  using model = LanguageModel.create(config, device, 3);
  const out: number[] = [];
  for await (const token of decode(model, tokensOf(1, 12), { maxTokens: 20, temperature: 1, seed: 5 })) out.push(token);
  return out;
}

describe('steps on a device that records them', () => {
  it('choose the tokens that plain steps choose, with one recording', async () => {
    const device = recordingDevice();
    device.poison = true;
    expect(await text(device)).toEqual(await text(createReferenceDevice()));
    expect(device.counts).toEqual({ made: 1, alive: 0, launches: 18 });
    expect(device.memory.bytes).toBe(0);
  });

  it('are recorded once for each number of sequences, and again when the device took the recording back', async () => {
    const device = recordingDevice();
    using model = LanguageModel.create(config, device, 3);
    const states = [1, 2].map((B) => model.initialState(B));
    using stepper = new Stepper(model);
    const step = async (B: number): Promise<FloatArray> => {
      const { logits, state } = stepper.step(tokensOf(B, B), states[B - 1]!);
      expect(state).toBe(states[B - 1]);
      return logits;
    };
    for (const B of [1, 1, 1, 2, 2, 1, 2]) await step(B);
    expect(device.counts).toEqual({ made: 2, alive: 2, launches: 5 });
    device.takeBack();
    for (const B of [2, 2, 2]) await step(B);
    expect(device.counts).toMatchObject({ made: 3, alive: 1 });
    for (const state of states) state.dispose();
  });
});

/** The model with its matrices packed as bf16. */
function packedModel(device: Device): LanguageModel {
  using whole = LanguageModel.create(config, device, 3);
  const tensors = Object.entries(parameterTable(config)).map(([name, spec]): [string, Tensor] => {
    const { buffer, shape, size } = whole.tensors[name]!;
    if (spec.dense !== true) {
      const copy = device.alloc('float', size);
      device.kernels.copy(copy, buffer, size);
      return [name, new Tensor(device, shape, copy)];
    }
    const [rows, columns] = shape as [number, number];
    const packed = device.alloc('uint8', rows * packedRowBytes(WeightFormat.bf16, columns, 0));
    device.kernels.packRows(packed, buffer, rows, columns, WeightFormat.bf16, 0);
    return [name, new Tensor(device, shape, packed, { format: WeightFormat.bf16, group: 0 })];
  });
  return new LanguageModel(config, device, new FrozenParameters(device, Object.fromEntries(tensors)));
}

describe('a prompt', () => {
  const read = async (model: LanguageModel): Promise<FloatArray> => {
    using session = new Session(model);
    await session.read(tokensOf(2, 30));
    await session.read(tokensOf(3, 11));
    await session.read(tokensOf(4, 1));
    return session.logits!;
  };

  it('is read with bf16 activations where matrices, device and mixers are made for them', async () => {
    const device = createReferenceDevice();
    using model = packedModel(device);
    using whole = LanguageModel.create(config, device, 3);
    expect([model.readingActivations, whole.readingActivations]).toEqual(['bf16', 'float']);
    const withoutBf16: Device = Object.create(device, { hasBf16: { value: false } });
    using floats = packedModel(withoutBf16);
    expect(floats.readingActivations).toBe('float');
    // The reference does not round: what is compared is that each buffer goes where it belongs.
    expect(relativeRms(await read(model), await read(floats))).toBeLessThan(1e-12);
  });
});
