import { describe, expect, it } from 'vitest';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import { constant, type ParameterTable } from '../../src/layers/parameter.js';
import { Parameters } from '../../src/model/parameters.js';
import { Adamw } from '../../src/train/adamw.js';

const slow = (rate: number): number => Math.min(rate, 1e-3);
const one = { shape: [1], init: constant(1) } as const;
const TABLE: ParameterTable = {
  bias: { ...one, decay: false },
  modes: { ...one, decay: false, learningRate: slow },
  matrix: { ...one, decay: true },
  step: { ...one, decay: false, learningRate: slow },
};
const OPTIONS = { beta1: 0, beta2: 0, eps: 0, weightDecay: 0.5 } as const;

/** What a first step with gradients of 1 takes off each parameter: the rate, and the rate times the decay. */
async function taken(rate: number, decay: 'matrices' | 'all'): Promise<Record<string, number>> {
  const device = createReferenceDevice();
  const parameters = new Parameters(device, TABLE);
  parameters.initialize([0, 0]);
  const { gradients, length } = parameters;
  device.kernels.fill(gradients, 1, length);
  new Adamw(parameters, { ...OPTIONS, decay }).update(rate, 1);
  const entries = Object.entries(parameters.tensors);
  return Object.fromEntries(await Promise.all(entries.map(async ([name, t]) => [name, 1 - (await t.data())[0]!])));
}

describe('AdamW', () => {
  it('gives parameters with a rule for it their own learning rate', async () => {
    const { bias, modes, matrix, step } = await taken(0.01, 'matrices');
    expect(bias).toBeCloseTo(0.01, 12);
    expect(modes).toBeCloseTo(0.001, 12);
    expect(step).toBeCloseTo(0.001, 12);
    expect(matrix).toBeCloseTo(0.015, 12);
  });

  it('decays all parameters where it is told to, at their own rate', async () => {
    const { bias, modes } = await taken(0.01, 'all');
    expect(bias).toBeCloseTo(0.015, 12);
    expect(modes).toBeCloseTo(0.0015, 12);
  });

  it('leaves a rate alone that is small enough', async () => {
    expect((await taken(1e-4, 'matrices'))['modes']).toBeCloseTo(1e-4, 12);
  });
});
