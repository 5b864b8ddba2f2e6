/** @file The parameters of a model as tensors of a file, under their names. It writes nothing. */
import type { FloatArray } from '../device/device.js';
import type { LanguageModel } from './language-model.js';
import type { ParameterPlace } from './parameters.js';
import type { TensorArray, TensorToWrite } from './tensor-array.js';

/** The stretches of a flat array that belong to each parameter. */
export function namedTensors(places: readonly ParameterPlace[], flat: FloatArray, prefix = ''): TensorToWrite[] {
  const dtype = flat instanceof Float64Array ? 'F64' : 'F32';
  return places.map(({ name, spec, offset, length }) => {
    const data = flat.subarray(offset, offset + length) as TensorArray;
    return { name: prefix + name, dtype, shape: spec.shape, data };
  });
}

/** All parameters of a model as float32. */
export async function modelTensors({ device, parameters }: LanguageModel): Promise<TensorToWrite[]> {
  const values = (await device.read(parameters.values)) as FloatArray;
  return namedTensors(parameters.places, Float32Array.from(values));
}
