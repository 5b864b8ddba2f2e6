/**
 * @file Looks at every value of a model's parameters: what is not finite, how large values are, what is suspicious. Names,
 * shapes and types are checked when a folder is opened (`formats/open.ts`) and its tensors are set beside the configuration.
 */
import type { Device } from '../device/device.js';
import type { ParameterTable } from '../layers/parameter.js';
import type { Shape } from '../tensor/shape.js';
import { size } from '../tensor/shape.js';
import { toFloat32 } from './float-formats.js';
import type { ModelSource, ParameterSource } from './formats/source.js';
import { parameterTable } from './language-model.js';
import { storedTensor } from './load-weights.js';
import { toFloats } from './tensor-array.js';

/** What the values of a parameter are like. */
export interface ValueStatistics {
  readonly count: number;
  /** Root of the mean square, smallest and largest of the finite values; NaN where there is none. */
  readonly rms: number;
  readonly min: number;
  readonly max: number;
  readonly zeros: number;
  readonly nonFinite: number;
  /** Row-major position of the first value that is not finite; -1 for none. */
  readonly firstNonFinite: number;
}

export interface ParameterReport extends ValueStatistics {
  readonly name: string;
  readonly shape: Shape;
  /** Type of the elements in the file; U8 where they are packed. */
  readonly dtype: string;
}

export interface VerifyReport {
  readonly parameters: readonly ParameterReport[];
  /** What makes the model unusable, a sentence each. */
  readonly problems: readonly string[];
  /** What is unusual but can be right. */
  readonly warnings: readonly string[];
}

export interface VerifyOptions {
  /** Told after each parameter: the share of the bytes that were read. */
  readonly onProgress?: (share: number) => void;
}

/** Values that are looked at in one piece: bounds the memory for types that are converted. */
const PIECE = 1 << 22;

/**
 * Reads every value of a model.
 * @param device  what unpacks packed matrices
 */
export async function verifyModel(
  source: ModelSource,
  device: Device,
  { onProgress = () => {} }: VerifyOptions = {},
): Promise<VerifyReport> {
  const table = parameterTable(source.config);
  const problems = namesAndShapes(source, table);
  const warnings: string[] = [];
  const parameters: ParameterReport[] = [];
  const total = [...source.parameters.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
  let done = 0;
  for (const parameter of source.parameters.values()) {
    const { name, shape, dtype } = parameter;
    const statistics = await statisticsOf(parameter, device);
    parameters.push({ name, shape, dtype, ...statistics });
    const { count, nonFinite, firstNonFinite, zeros, min, max } = statistics;
    if (nonFinite > 0) {
      problems.push(
        `${name}: ${nonFinite} of ${count} values are not finite, the first at ${place(firstNonFinite, shape)}`,
      );
    } else if (count > 0 && zeros === count && table[name]?.dense) {
      warnings.push(`${name}: is all zero`);
    } else if (count > 1 && min === max && table[name]?.dense) {
      warnings.push(`${name}: all ${count} values are ${min}`);
    } else if (Math.max(-min, max) > LARGE) {
      warnings.push(`${name}: has values as large as ${Math.max(-min, max).toPrecision(3)}`);
    }
    onProgress((done += parameter.byteLength) / total);
  }
  return { parameters, problems, warnings };
}

/** Beyond it a product of float32 soon has no digits left; weights of a trained model are below 100. */
const LARGE = 1e4;

function namesAndShapes({ parameters }: ModelSource, table: ParameterTable): string[] {
  const problems = Object.keys(table).flatMap((name) => (parameters.has(name) ? [] : [`${name}: is missing`]));
  for (const { name, shape } of parameters.values()) {
    const wanted = table[name]?.shape;
    if (wanted === undefined) problems.push(`${name}: a model of this configuration has no such parameter`);
    else if (wanted.join() !== shape.join()) {
      problems.push(`${name}: must be [${wanted.join(',')}] by the configuration, got [${shape.join(',')}]`);
    }
  }
  return problems;
}

/** A position as indices: "[3,17]". */
function place(position: number, shape: Shape): string {
  const indices: number[] = [];
  let rest = position;
  for (const extent of shape.toReversed()) {
    indices.unshift(rest % extent);
    rest = Math.floor(rest / extent);
  }
  return `[${indices.join(',')}]`;
}

async function statisticsOf(parameter: ParameterSource, device: Device): Promise<ValueStatistics> {
  const { dtype, shape, packing } = parameter;
  if (packing !== null) return packedStatistics(parameter, device);
  if (dtype === 'BF16' || dtype === 'F16') return halfStatistics(parameter.bytes(), dtype);
  const statistics = new Statistics();
  const bytes = parameter.bytes();
  const width = bytes.length / Math.max(1, size(shape));
  for (let start = 0; start < bytes.length; start += PIECE * width) {
    statistics.add(toFloats(bytes.subarray(start, start + PIECE * width), dtype));
  }
  return statistics.result();
}

/** 16 bits have few values: it is enough to count how often each comes, which is far faster than to look at all as numbers. */
function halfStatistics(bytes: Uint8Array, dtype: 'BF16' | 'F16'): ValueStatistics {
  const aligned = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice();
  const halves = new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.length / 2);
  const counts = new Float64Array(65536);
  for (let k = 0; k < halves.length; k++) counts[halves[k]!]!++;
  const values = toFloat32(
    Uint16Array.from({ length: 65536 }, (_, k) => k),
    dtype,
  );
  const statistics = new Statistics();
  counts.forEach((times, half) => statistics.addTimes(values[half]!, times));
  const isFinite = Uint8Array.from(values, (value) => (Number.isFinite(value) ? 1 : 0));
  if (statistics.nonFinite > 0) statistics.firstNonFinite = halves.findIndex((half) => isFinite[half] === 0);
  return statistics.result();
}

/** Of a packed matrix the values that it stands for are looked at. */
async function packedStatistics(parameter: ParameterSource, device: Device): Promise<ValueStatistics> {
  const statistics = new Statistics();
  using stored = storedTensor(device, parameter);
  const [rows, columns] = stored.shape as [number, number];
  const step = Math.max(1, Math.floor(PIECE / Math.max(1, columns)));
  for (let start = 0; start < rows; start += step) {
    statistics.add(await stored.rows(start, Math.min(rows, start + step)).data());
  }
  return statistics.result();
}

class Statistics {
  count = 0;
  min = NaN;
  max = NaN;
  zeros = 0;
  nonFinite = 0;
  firstNonFinite = -1;
  #squares = 0;

  result(): ValueStatistics {
    const { count, min, max, zeros, nonFinite, firstNonFinite } = this;
    return { count, rms: Math.sqrt(this.#squares / (count - nonFinite)), min, max, zeros, nonFinite, firstNonFinite };
  }

  add(values: Float32Array | Float64Array): void {
    let [squares, zeros] = [0, 0];
    let [min, max] = [Infinity, -Infinity];
    for (let k = 0; k < values.length; k++) {
      const value = values[k]!;
      squares += value * value;
      if (value === 0) zeros++;
      if (value < min) min = value;
      if (value > max) max = value;
    }
    if (squares - squares === 0) this.#take(values.length, squares, zeros, min, max);
    else values.forEach((value) => this.addTimes(value, 1)); // something is not finite, or overflows: one by one
  }

  /** A value that comes `times` times. */
  addTimes(value: number, times: number): void {
    if (times === 0) return;
    if (Number.isFinite(value)) {
      this.#take(times, times * value * value, value === 0 ? times : 0, value, value);
      return;
    }
    if (this.firstNonFinite === -1) this.firstNonFinite = this.count;
    this.count += times;
    this.nonFinite += times;
  }

  #take(count: number, squares: number, zeros: number, min: number, max: number): void {
    if (count === 0) return;
    this.count += count;
    this.#squares += squares;
    this.zeros += zeros;
    this.min = this.min <= min ? this.min : min;
    this.max = this.max >= max ? this.max : max;
  }
}
