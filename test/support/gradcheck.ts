/**
 * @file Gradient check of ops: <u, J v> by central differences against <J^T u, v> by the tape, u and v random.
 * The differences are taken on the reference device in float64, where they are exact to 1e-8; in float32 they would
 * hide all errors below a percent. That a device's forward pass is the reference's is the self-test's business.
 */
import type { Device } from '../../src/device/device.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import { fold, normal, randomKey } from '../../src/tensor/random.js';
import { scope } from '../../src/tensor/scope.js';
import { backward } from '../../src/tensor/tape.js';
import { size, type Shape } from '../../src/tensor/shape.js';
import { Tensor } from '../../src/tensor/tensor.js';

export interface GradInput {
  readonly shape: Shape;
  /** Default: standard normal numbers. */
  readonly values?: Float64Array;
}

type Fn = (...xs: Tensor[]) => readonly Tensor[];

const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let total = 0;
  for (let k = 0; k < a.length; k++) total += a[k]! * b[k]!;
  return total;
};
const norm = (a: ArrayLike<number>): number => Math.sqrt(dot(a, a));

/** Step of the central differences: their error is about eps^2 plus 1e-16 / eps. */
const EPS = 1e-5;

/**
 * Relative gap between the two inner products for input `which` of `f`, all outputs taken together.
 * `break_` turns the tape's gradient into a wrong one, to prove that the check can fail.
 */
export async function gradcheck(
  device: Device,
  f: Fn,
  inputs: readonly GradInput[],
  which: number,
  break_: (gradient: Float64Array) => Float64Array = (g) => g,
): Promise<number> {
  const definition = createReferenceDevice();
  const key = fold(randomKey(7), which);
  const values = inputs.map(
    ({ shape, values }, k) => values ?? normal(fold(fold(randomKey(3), 'input'), k), size(shape)),
  );
  const v = normal(fold(key, 'v'), values[which]!.length);

  const at = async (h: number): Promise<Float64Array[]> => {
    const moved = values.map((x, k) => (k === which ? x.map((value, j) => value + h * v[j]!) : x));
    const outputs = scope(definition, {}, () => [
      ...f(...moved.map((x, k) => Tensor.from(definition, x, inputs[k]!.shape))),
    ]);
    const data = await Promise.all(outputs.map(async (output) => Float64Array.from(await output.data())));
    for (const output of outputs) output.dispose();
    return data;
  };
  const [high, low] = [await at(EPS), await at(-EPS)];
  const us = high.map((output, k) => normal(fold(fold(key, 'u'), k), output.length));
  const numeric = us.reduce(
    (total, u, k) =>
      total +
      dot(
        u,
        high[k]!.map((x, j) => (x - low[k]![j]!) / (2 * EPS)),
      ),
    0,
  );

  const gradient = scope(device, { record: true }, () => {
    const xs = values.map((x, k) => Tensor.from(device, x, inputs[k]!.shape));
    xs[which]!.requiresGrad = true;
    const outputs = f(...xs);
    backward(outputs.map((output, k) => [output, Tensor.from(device, us[k]!, output.shape)] as const));
    return xs[which]!.gradTensor();
  });
  const g = break_(Float64Array.from(await gradient.data()));
  gradient.dispose();
  return Math.abs(numeric - dot(g, v)) / (norm(g) * norm(v) + 1e-30);
}
