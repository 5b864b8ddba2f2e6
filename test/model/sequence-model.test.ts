/** @file Models of sequences that are not text: their ends, pooling, and that every parameter is reached by the gradient. */
import { describe, expect, it } from 'vitest';
import type { Device } from '../../src/device/device.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import { SequenceModel, sequenceParameterTable, type SequenceEnds } from '../../src/model/sequence-model.js';
import { countParameters } from '../../src/layers/parameter.js';
import { meanPool } from '../../src/ops/mean-pool.js';
import { sum } from '../../src/ops/sum.js';
import { fold, normal, randomKey } from '../../src/tensor/random.js';
import { scope } from '../../src/tensor/scope.js';
import { backward } from '../../src/tensor/tape.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { gradcheck } from '../support/gradcheck.js';

const config = { dim: 8, blocks: ['slstm'], slstm: { heads: 2, recurrentInit: 'standard' as const } };
const tokens = { kind: 'tokens', vocabSize: 5 } as const;

const x = (device: Device, { input }: SequenceEnds): Tensor =>
  input.kind === 'tokens'
    ? Tensor.from(device, Int32Array.of(0, 1, 2, 3, 4, 0), [2, 3])
    : Tensor.from(device, normal(randomKey(1), 6 * input.width), [2, 3, input.width]);

const ENDS: readonly SequenceEnds[] = [
  { input: tokens, output: { kind: 'tokens', vocabSize: 7 } },
  { input: { kind: 'vectors', width: 3 }, output: { kind: 'values', width: 2 } },
  { input: tokens, output: { kind: 'class', classes: 4 } },
  { input: tokens, output: { kind: 'class', classes: 3, towers: 2 } },
];

describe.each(ENDS)('from $input.kind to $output.kind', (ends) => {
  it('every parameter has a gradient', async () => {
    const device = createReferenceDevice();
    using model = SequenceModel.create(config, ends, device, 1);
    void model.parameters.gradients;
    const { output } = ends;
    const y = scope(device, { record: true }, () => {
      const { hidden } = model.forward(x(device, ends), { wantState: false });
      const pooled = () => meanPool(hidden, [3, 2]);
      const shown = output.kind !== 'class' ? model.output(hidden) : model.output(pooled());
      const result =
        output.kind === 'class' && output.towers === 2 ? model.output(model.pair(pooled(), pooled())) : shown;
      backward([[result, Tensor.from(device, normal(fold(randomKey(2), 'u'), result.size), result.shape)]]);
      return result;
    });
    expect(y.shape).toEqual(
      { tokens: [2, 3, 7], values: [2, 3, 2], class: [2, output.kind === 'class' ? output.classes : 0] }[output.kind],
    );
    for (const [name, tensor] of Object.entries(model.parameters.tensors)) {
      expect(Math.max(...(await tensor.gradTensor().data()).map(Math.abs)), name).toBeGreaterThan(0);
    }
    expect(countParameters(sequenceParameterTable(config, ends))).toBe(model.parameterCount);
    y.dispose();
  });
});

it('ties input and output where the tokens are the same', () => {
  const device = createReferenceDevice();
  using tied = new SequenceModel({ ...config, tieWeights: true }, { input: tokens, output: tokens }, device);
  expect(tied.parameters.tensors['head.weight']).toBeUndefined();
  expect(tied.headTensors['head.weight']).toBe(tied.parameters.tensors['embedding.weight']);
});

describe('meanPool', () => {
  it('takes the steps that exist', async () => {
    const device = createReferenceDevice();
    const y = scope(device, {}, () => meanPool(Tensor.from(device, [1, 2, 3, 4, 5, 6, 7, 8], [2, 2, 2]), [2, 1]));
    expect([...(await y.data())]).toEqual([2, 3, 5, 6]);
    y.dispose();
  });
  it('has the right gradient', async () => {
    expect(
      await gradcheck(createReferenceDevice(), (t) => [meanPool(t, [4, 0, 3])], [{ shape: [3, 4, 5] }], 0),
    ).toBeLessThan(1e-7);
  });
  it('refuses lengths that do not fit', () => {
    const device = createReferenceDevice();
    const pool = (lengths: number[]) =>
      scope(device, {}, () => sum(meanPool(Tensor.full(device, [2, 3, 1], 0), lengths)));
    expect(() => pool([1])).toThrow('2 whole numbers from 0 to 3');
    expect(() => pool([4, 1])).toThrow('from 0 to 3');
  });
});
