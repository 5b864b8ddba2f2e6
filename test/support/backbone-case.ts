/**
 * @file A backbone with parameters and an input to be run with: for what blocks leave for one another, which the checks of
 * a single mixer do not see.
 */
import { expect } from 'vitest';
import type { Device } from '../../src/device/device.js';
import { initialValues, type ParameterTensors } from '../../src/layers/parameter.js';
import { Backbone } from '../../src/model/backbone.js';
import { modelConfigSchema, type ModelConfigInput } from '../../src/model/config.js';
import { fold, normal, randomKey } from '../../src/tensor/random.js';
import { scope } from '../../src/tensor/scope.js';
import { size } from '../../src/tensor/shape.js';
import { backward } from '../../src/tensor/tape.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { relativeRms } from './compare.js';
import { referenceDevice } from './devices.js';

type Values = ReadonlyMap<string, Float64Array>;

const [B, T] = [2, 7];

async function read(tensors: Readonly<Record<string, Tensor>>): Promise<Map<string, Float64Array>> {
  const entries = await Promise.all(
    Object.entries(tensors).map(async ([name, x]) => [name, Float64Array.from(await x.data())] as const),
  );
  for (const x of Object.values(tensors)) x.dispose();
  return new Map(entries);
}

export class BackboneCase {
  readonly backbone: Backbone;
  /** Initial values with noise, since many are zero. */
  readonly values: Values;
  readonly #input: Float64Array;
  readonly #cotangent: Float64Array;

  constructor(config: ModelConfigInput) {
    this.backbone = new Backbone(modelConfigSchema.parse({ vocabSize: 1, ...config }));
    const values = Object.entries(this.backbone.parameters).map(([name, spec]) => {
      const key = fold(randomKey(5), name);
      const noise = normal(fold(key, 'noise'), size(spec.shape), 0, 0.2);
      return [name, initialValues(spec, key).map((x, k) => x + noise[k]!)] as const;
    });
    this.values = new Map(values);
    const length = B * T * this.backbone.config.dim;
    this.#input = normal(randomKey(6), length);
    this.#cotangent = normal(randomKey(7), length);
  }

  #tensorsOn(device: Device, values: Values): ParameterTensors {
    const { parameters } = this.backbone;
    return Object.fromEntries(
      [...values].map(([name, data]) => [name, Tensor.from(device, data, parameters[name]!.shape)]),
    );
  }

  /** The result "y", and the gradients of the parameters by name. */
  run(device: Device, checkpointBlocks = false, values: Values = this.values): Promise<Map<string, Float64Array>> {
    const { dim: D } = this.backbone.config;
    const tensors = scope(device, { record: true }, () => {
      const p = this.#tensorsOn(device, values);
      for (const tensor of Object.values(p)) tensor.requiresGrad = true;
      const { hidden } = this.backbone.forward(p, Tensor.from(device, this.#input, [B, T, D]), { checkpointBlocks });
      backward([[hidden, Tensor.from(device, this.#cotangent, hidden.shape)]]);
      const gradients = Object.entries(p).map(([name, tensor]) => [name, tensor.gradTensor()]);
      return { y: hidden, ...(Object.fromEntries(gradients) as Record<string, Tensor>) };
    });
    return read(tensors);
  }

  /** The gradient of one parameter is that of finite differences in float64, and not zero. */
  async expectGradient(name: string): Promise<void> {
    const device = referenceDevice();
    const gradient = (await this.run(device)).get(name)!;
    const along = normal(randomKey(8), gradient.length);
    const project = async (by: number): Promise<number> => {
      const moved = this.values.get(name)!.map((x, k) => x + by * along[k]!);
      const y = (await this.run(device, false, new Map(this.values).set(name, moved))).get('y')!;
      return y.reduce((sum, x, k) => sum + x * this.#cotangent[k]!, 0);
    };
    const numeric = ((await project(1e-5)) - (await project(-1e-5))) / 2e-5;
    const exact = gradient.reduce((sum, x, k) => sum + x * along[k]!, 0);
    expect(Math.abs(exact)).toBeGreaterThan(1e-4);
    expect(Math.abs(numeric - exact) / Math.abs(exact)).toBeLessThan(1e-6);
  }

  /** Recomputing blocks in the backward pass changes no gradient, and no memory stays. */
  async expectCheckpointing(device: Device): Promise<void> {
    device.poison = true;
    const [whole, again] = [await this.run(device, false), await this.run(device, true)];
    for (const [name, expected] of whole) expect(relativeRms(again.get(name)!, expected), name).toBeLessThan(1e-5);
    expect(device.memory.bytes).toBe(0);
  }

  /** Step by step, the state carried, is the sequence. */
  async expectSteps(device: Device): Promise<void> {
    device.poison = true;
    const { dim: D } = this.backbone.config;
    const y = (await this.run(device)).get('y')!;
    const p = this.#tensorsOn(device, this.values);
    let state = this.backbone.initialState(device, B);
    const rows = (data: Float64Array, t: number): Float64Array =>
      Float64Array.from(Array.from({ length: B * D }, (_, k) => data[(Math.floor(k / D) * T + t) * D + (k % D)]!));
    for (let t = 0; t < T; t++) {
      const { hidden, next } = scope(device, {}, () => {
        const x = Tensor.from(device, rows(this.#input, t), [B, D]);
        const step = this.backbone.step(p, x, state, { inPlace: true });
        return { hidden: step.hidden, next: step.state.detach() };
      });
      const got = Float64Array.from(await hidden.data());
      expect(relativeRms(got, rows(y, t))).toBeLessThan(device.precision === 'float64' ? 1e-12 : 1e-5);
      hidden.dispose();
      state = next;
    }
  }
}
