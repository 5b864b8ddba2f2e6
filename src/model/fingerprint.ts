/**
 * @file The fingerprint of a model: a short text that two models share if they compute the same. A state file carries it.
 *
 * It guards against mistakes (another model, the same one trained further, another quantisation), not against malice.
 * For that a sample of the values is enough: training moves every parameter that has a gradient or weight decay, and
 * another initialisation or rounding moves all of them. Hashing all 7 billion values of a large model would take half a
 * minute and read the whole file from disk; the sample reads about a hundredth.
 */
import type { FloatArray } from '../device/device.js';
import { Sha256 } from '../sha256.js';
import type { Tensor } from '../tensor/tensor.js';
import { modelConfigSchema, writtenConfig, type ModelConfig } from './config.js';
import type { LanguageModel } from './language-model.js';

/** Options that change speed, training or initial values, but no number that a finished model computes. */
const WITHOUT_EFFECT: ReadonlySet<string> = new Set([
  'chunkSize',
  'dropout',
  'init',
  'recurrentInit',
  'biasInit',
  'inputGateStd',
]);

/** Values taken of a parameter: `RUNS` runs, evenly spaced, of `RUN` neighbours, which share a page of memory or disk. */
const RUNS = 256;
const RUN = 64;

/**
 * SHA-256 (hex) over the configuration and, of each parameter in the order of names, its name, its shape and up to
 * 16,384 values as float32 (all of them where there are not more). Whether the weights are mapped from a bf16 file or
 * expanded makes no difference; other weights, or other options that change results, make another fingerprint.
 * Takes milliseconds to a second, by the size of the model.
 */
export async function modelFingerprint(model: LanguageModel): Promise<string> {
  const hash = new Sha256().update(`${canonicalConfig(model.config)}\n`);
  const entries = Object.entries(model.tensors).sort(([a], [b]) => (a < b ? -1 : 1));
  for (const [name, tensor] of entries) {
    hash.update(`${name} [${tensor.shape.join(',')}]\n`);
    for (const [start, length] of sampledRuns(tensor.size)) {
      const values = Float32Array.from(await readElements(tensor, start, length));
      hash.update(new Uint8Array(values.buffer));
    }
  }
  return hash.hex();
}

/** How a fingerprint is shown to people. */
export const shortFingerprint = (fingerprint: string): string => fingerprint.slice(0, 12);

/** `length` values of a parameter from element `start` on, in row-major order. */
async function readElements(tensor: Tensor, start: number, length: number): Promise<FloatArray> {
  const { device, buffer } = tensor;
  if (tensor.packing !== null) {
    const columns = tensor.extent(1);
    const first = Math.floor(start / columns);
    const values = await tensor.rows(first, Math.ceil((start + length) / columns)).data();
    return values.slice(start - first * columns, start - first * columns + length);
  }
  return (await device.read(device.view(buffer, start, length))) as FloatArray;
}

function* sampledRuns(size: number): Generator<[start: number, length: number]> {
  if (size <= RUNS * RUN) return yield [0, size];
  for (let k = 0; k < RUNS; k++) {
    // Walks through the stretch, or in a matrix whose rows are as long as the stretch all runs would be of one column.
    const [begin, end] = [Math.floor((k * size) / RUNS), Math.floor(((k + 1) * size) / RUNS)];
    yield [begin + Math.floor((k * (end - begin - RUN)) / (RUNS - 1)), RUN];
  }
}

/**
 * The options that change results, as text. Those at their default are left out, so that an option that a later version
 * adds does not make another model of an old one; so are those of mixers that the model does not have.
 */
function canonicalConfig(config: ModelConfig): string {
  return JSON.stringify(
    differences(writtenConfig(config), modelConfigSchema.parse({}), '').sort(([a], [b]) => (a < b ? -1 : 1)),
  );
}

/** The fields in which `value` is not `fallback`, as path and value. */
function differences(value: unknown, fallback: unknown, path: string): [path: string, value: unknown][] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return JSON.stringify(value) === JSON.stringify(fallback) ? [] : [[path, value]];
  }
  return Object.entries(value)
    .filter(([name]) => !WITHOUT_EFFECT.has(name))
    .flatMap(([name, field]) =>
      differences(
        field,
        (fallback as Record<string, unknown> | undefined)?.[name],
        path === '' ? name : `${path}.${name}`,
      ),
    );
}
