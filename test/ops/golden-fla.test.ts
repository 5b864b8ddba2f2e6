/**
 * @file The linear recurrences against flash-linear-attention: outputs, last states and all gradients that its naive
 * functions gave in float64, as test/golden/record_fla.py recorded them.
 */
import { describe, expect, it } from 'vitest';
import type { Device } from '../../src/device/device.js';
import { deltaRule } from '../../src/ops/delta-rule.js';
import { dplr } from '../../src/ops/dplr.js';
import { activate, scaled } from '../../src/ops/elementwise.js';
import { linearAttention } from '../../src/ops/linear-attention.js';
import { scan } from '../../src/ops/scan.js';
import { scope } from '../../src/tensor/scope.js';
import { backward } from '../../src/tensor/tape.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { relativeRms } from '../support/compare.js';
import { testDevices } from '../support/devices.js';
import { readFixture } from '../support/safetensors.js';

type Inputs = Readonly<Record<string, Tensor>>;
type Outputs = Readonly<Record<string, Tensor>>;

/** Heads of all files, width of their keys, and a chunk that does not divide the 37 steps. */
const [heads, DK, chunkSize] = [2, 5, 16];
/** That of all functions but RWKV-6. */
const scale = 1 / Math.sqrt(DK);

const linear = (x: Inputs, options: { scale: number; u?: Tensor }): Outputs => {
  const inputs = { q: x['q']!, k: x['k']!, v: x['v']!, logDecay: x['g']!, bonus: options.u ?? null };
  const [o, state] = linearAttention(inputs, { heads, scale: options.scale, chunkSize, state: { S: x['S0']! } });
  return { o, S: state!.S };
};

/** How each file is computed here. Inputs are [B,T,H*width]. */
const FILES: Readonly<Record<string, (x: Inputs, device: Device) => Outputs>> = {
  delta_rule: ({ q, k, v, beta, S0 }) => {
    const [o, S] = deltaRule({ q: q!, k: k!, v: v!, beta: beta!, g: null }, { state: S0!, chunkSize });
    return { o, S };
  },
  gated_delta_rule: ({ q, k, v, beta, g, S0 }) => {
    const [o, S] = deltaRule({ q: q!, k: k!, v: v!, beta: beta!, g: g! }, { state: S0!, chunkSize });
    return { o, S };
  },
  dplr: ({ q, k, v, a, b, g, S0 }) => {
    const [o, S] = dplr({ q: scaled(q!, scale), k: k!, v: v!, a: a!, b: b!, g: g! }, { heads, state: S0! });
    return { o, S };
  },
  gla: (x) => linear(x, { scale }),
  simple_gla: (x) => linear(x, { scale }),
  rwkv6: (x) => linear(x, { scale: 1, u: x['u']! }),
  linear_attention: ({ q, k, v, S0, z0 }) => {
    const state = { S: S0!, z: z0! };
    const options = { heads, scale, chunkSize, normalize: true, eps: 1e-10, state };
    const [o, last] = linearAttention({ q: q!, k: k!, v: v! }, options);
    return { o, S: last!.S, z: last!.z! };
  },
  retention: ({ q, k, v }, device) => {
    const logDecay = Tensor.from(device, [Math.log(1 - 2 ** -5), Math.log(1 - 2 ** -6)], [heads]);
    return { o: linearAttention({ q: q!, k: k!, v: v!, logDecay }, { heads, scale, chunkSize })[0] };
  },
  hgrn: ({ x, g, S0 }) => {
    const [o, S] = scan(activate(g!, 'exp'), x!, { state: S0! });
    return { o, S };
  },
};

/** The axes of heads and widths are one here, z has no axis of steps, and the bonus no batch. */
function shapeOf(name: string, shape: readonly number[]): number[] {
  if (name === 'z0') return [shape[0]!, shape[2]!, shape[3]!];
  return name === 'S0' || name === 'u' || shape.length < 4 ? [...shape] : [shape[0]!, shape[1]!, shape[2]! * shape[3]!];
}

/** Seen: 7e-16 in float64 and 3e-7 in float32. */
const TOLERANCE = { float64: 1e-14, float32: 1e-6 };

describe.each(testDevices())('$name', ({ create }) => {
  const device = create();
  device.poison = true;

  it.each(Object.keys(FILES))('%s', async (name) => {
    const { tensors } = readFixture(new URL(`../fixtures/golden/fla/${name}.safetensors`, import.meta.url));
    const recorded = (key: string): Float64Array => tensors[key]!.data as Float64Array;
    const inputNames = Object.keys(tensors).flatMap((key) => (key.startsWith('grad.') ? [key.slice(5)] : []));
    const outputNames = Object.keys(tensors).flatMap((key) => (key.startsWith('cotangent.') ? [key.slice(10)] : []));
    const found = scope(device, { record: true }, () => {
      const inputs = Object.fromEntries(
        inputNames.map((key) => [key, Tensor.from(device, recorded(key), shapeOf(key, tensors[key]!.shape))]),
      );
      for (const x of Object.values(inputs)) x.requiresGrad = true;
      const outputs = FILES[name]!(inputs, device);
      expect(Object.keys(outputs).toSorted()).toEqual(outputNames.toSorted());
      backward(
        Object.entries(outputs).map(([key, y]) => [y, Tensor.from(device, recorded(`cotangent.${key}`), y.shape)]),
      );
      const gradients = Object.entries(inputs).map(([key, x]) => [`grad.${key}`, x.gradTensor()]);
      return { ...outputs, ...(Object.fromEntries(gradients) as Record<string, Tensor>) };
    });
    expect(Object.keys(found).length).toBeGreaterThan(3);
    for (const [key, tensor] of Object.entries(found)) {
      expect(relativeRms(await tensor.data(), recorded(key)), key).toBeLessThan(TOLERANCE[device.precision]);
      tensor.dispose();
    }
  });
});
