/**
 * @file Checks a backward kernel against finite differences of its forward kernel, with random vectors: for random u
 * and v, <u, J v> by differences must equal <J^T u, v> by the backward kernel. It works on any problem of the self-test.
 */
import type { Device } from '../../src/device/device.js';
import type { BufferValue, Problem, Value } from '../../src/device/selftest/problem.js';
import { CaseRandom, forwardCase, makeCall, runCalls, withGradients } from '../../src/device/selftest/problem.js';
import { gradientOf, signatures } from '../../src/device/selftest/signatures.js';

/**
 * Steps of the differences: their error is about (step * curvature)^4 + 1e-16 / step. Where a kink of the function (the
 * maximum in a denominator) lies within the first, the second is short enough to stay on one side of it.
 */
const STEPS = [2e-5, 5e-7];

type Outputs = Map<string, Float64Array>;

const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, x, e) => sum + x * b[e]!, 0);
const norm = (a: Float64Array): number => Math.sqrt(dot(a, a));
const floatData = (value: Value | undefined): Float64Array => (value as BufferValue).data as Float64Array;
const raw = (data: Float64Array): BufferValue => ({ dtype: 'float', length: data.length, data });

async function forwardOutputs(device: Device, problem: Problem): Promise<Outputs> {
  const results = await runCalls(device, forwardCase(problem).calls);
  const outputs: Outputs = new Map();
  for (const [buffer, data] of results) if (buffer.role !== 'input') outputs.set(buffer.name, data as Float64Array);
  return outputs;
}

/** The backward call of a problem with all that it needs of the forward one, zero gradients and random cotangents. */
async function backwardProblem(device: Device, problem: Problem): Promise<Problem> {
  const values: Record<string, Value> = { ...problem.values };
  for (const [name, data] of await forwardOutputs(device, problem)) values[name] = raw(data);
  return withGradients({ ...problem, values }, (_, length) => new Float64Array(length));
}

/** <u, J v> by the five-point formula for input `name` moved along v, and what rounding may have added to it. */
async function difference(
  device: Device,
  problem: Problem,
  name: string,
  v: Float64Array,
  u: Outputs,
  step: number,
): Promise<{ numeric: number; noise: number }> {
  let size = 0;
  const x = floatData(problem.values[name]);
  const at = async (steps: number): Promise<number> => {
    const moved = raw(x.map((value, e) => value + steps * step * v[e]!));
    const outputs = await forwardOutputs(device, { ...problem, values: { ...problem.values, [name]: moved } });
    size = [...u].reduce((sum, [output, cotangent]) => sum + norm(cotangent) * norm(outputs.get(output)!), 0);
    return [...u].reduce((sum, [output, cotangent]) => sum + dot(cotangent, outputs.get(output)!), 0);
  };
  const [far, near] = [(await at(2)) - (await at(-2)), (await at(1)) - (await at(-1))];
  return { numeric: (8 * near - far) / (12 * step), noise: (1e-15 * size) / step };
}

/**
 * The gap | <u, J v> - <J^T u, v> | / (|J^T u| |v|) of every gradient that the backward kernel of `problem` gives, less
 * the rounding of the differences. A gradient of n elements that is wrong by a factor shows as about that / sqrt(n).
 */
export async function gradientGaps(device: Device, problem: Problem): Promise<{ gradient: string; gap: number }[]> {
  const backward = problem.backward!;
  const filled = await backwardProblem(device, problem);
  const { buffers } = signatures[backward];
  const u: Outputs = new Map();
  for (const [name, role] of buffers) {
    // A cotangent is an input that the forward kernel does not know.
    const value = filled.values[name];
    if (role === 'input' && problem.values[name] === undefined && value !== null)
      u.set(gradientOf(name), floatData(value));
  }
  const results = await runCalls(device, [makeCall(backward, filled, new Map())]);
  const gaps: { gradient: string; gap: number }[] = [];
  for (const [buffer, data] of results) {
    if (buffer.role !== 'gradient') continue;
    const gradient = data as Float64Array;
    const random = new CaseRandom(`${problem.name} ${buffer.name} direction`);
    const v = Float64Array.from({ length: buffer.length }, () => random.normal());
    let gap = Infinity;
    for (const step of STEPS) {
      const { numeric, noise } = await difference(device, problem, gradientOf(buffer.name), v, u, step);
      const error = Math.max(0, Math.abs(numeric - dot(gradient, v)) - noise);
      gap = Math.min(gap, error / (norm(gradient) * norm(v) + 1e-12));
      if (gap < 1e-9) break;
    }
    gaps.push({ gradient: buffer.name, gap });
  }
  return gaps;
}
