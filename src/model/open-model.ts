/** @file A model from its parameters, wherever they lie: to be trained, or to be run as they are. It opens no files. */
import type { Device } from '../device/device.js';
import { checkShape } from '../tensor/shape.js';
import type { ModelConfig } from './config.js';
import type { ParameterSource } from './formats/source.js';
import { LanguageModel, parameterTable } from './language-model.js';
import { checkNames, loadFrozen, writeFloats, type WeightOptions } from './load-weights.js';

export interface OpenModelOptions extends Partial<WeightOptions> {
  /**
   * Parameters of the device's own floats, to be trained and saved. Default true where no storage is given; else the
   * model is opened to be run: matrices as they are stored (in place where the device can) or packed.
   */
  readonly trainable?: boolean;
}

/**
 * A model with the parameters given. @param name  the folder or file that they are of, for errors
 * @throws RangeError when they do not fit the configuration; Error where a type of element cannot be read as a number.
 */
export function openModel(
  config: ModelConfig,
  parameters: ReadonlyMap<string, ParameterSource>,
  device: Device,
  name: string,
  options: OpenModelOptions,
): LanguageModel {
  const opening = openInPieces(config, parameters, device, name, options);
  for (;;) {
    const { done, value } = opening.next();
    if (done) return value;
  }
}

/**
 * As `openModel`, where the bytes of a parameter are there only once `fetch` has been awaited, one parameter after the
 * other: so that not all of them are in memory.
 */
export async function openModelFetching(
  config: ModelConfig,
  parameters: ReadonlyMap<string, ParameterSource>,
  device: Device,
  name: string,
  options: OpenModelOptions,
  fetch: (parameter: ParameterSource) => Promise<void>,
): Promise<LanguageModel> {
  const opening = openInPieces(config, parameters, device, name, options);
  for (let next = opening.next(); ;) {
    if (next.done) return next.value;
    try {
      await fetch(next.value);
    } catch (error) {
      opening.throw(error); // frees what is there, and throws it again
    }
    next = opening.next();
  }
}

/** Gives out each parameter before it takes its bytes. */
function* openInPieces(
  config: ModelConfig,
  parameters: ReadonlyMap<string, ParameterSource>,
  device: Device,
  name: string,
  options: OpenModelOptions,
): Generator<ParameterSource, LanguageModel, void> {
  const { storage, trainable = storage === undefined } = options;
  const table = parameterTable(config);
  if (!trainable) {
    const frozen = yield* loadFrozen(device, table, parameters, name, { storage: 'stored', ...options });
    return new LanguageModel(config, device, frozen);
  }
  checkNames(table, parameters, name);
  const model = new LanguageModel(config, device);
  const { places } = model.parameters;
  try {
    for (const [k, { name: parameter, spec }] of places.entries()) {
      const source = parameters.get(parameter)!;
      checkShape(`${name}: ${parameter}`, source.shape, spec.shape);
      yield source;
      writeFloats(model.tensors[parameter]!, source);
      options.onProgress?.((k + 1) / places.length);
    }
  } catch (error) {
    model.dispose();
    throw error;
  }
  return model;
}
