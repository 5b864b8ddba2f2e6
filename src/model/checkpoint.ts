/**
 * @file A model as a folder: saved in this library's own form, opened in any that `formats/` knows. The tokenizer beside
 * the weights belongs to `tokens/`; here it is only known by its fingerprint, so that a wrong one is refused.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { Device } from '../device/device.js';
import type { DeviceBuffer, KernelName } from '../device/kernels.js';
import { checkShape } from '../tensor/shape.js';
import { CONFIG_FILE, configText, WEIGHTS_FILE } from './formats/native-config.js';
import { openModelSource, type SourceOptions } from './formats/open.js';
import type { ModelFacts, ModelFormat } from './formats/source.js';
import { kernelsOf } from './kernels-of.js';
import type { LanguageModel } from './language-model.js';
import { modelTensors } from './named-tensors.js';
import { openModel, type OpenModelOptions } from './open-model.js';
import type { Parameters } from './parameters.js';
import { writeSafetensors, type SafetensorsFile } from './safetensors.js';

/**
 * Writes config.json and model.safetensors (float32) into an existing folder.
 * @throws WriteError when the disk refuses.
 */
export async function saveModel(
  folder: string,
  model: LanguageModel,
  facts: { readonly tokenizer: string | null; readonly training?: Readonly<Record<string, unknown>> },
): Promise<void> {
  fs.writeFileSync(path.join(folder, CONFIG_FILE), configText({ model: model.config, ...facts }));
  const tensors = await modelTensors(model);
  await writeSafetensors(path.join(folder, WEIGHTS_FILE), tensors, { format: 'xlstm' });
}

/** Reads what `namedTensors` wrote into a flat buffer. @throws RangeError for a missing tensor or a wrong shape. */
export function readNamedTensors(file: SafetensorsFile, parameters: Parameters, flat: DeviceBuffer, prefix = ''): void {
  const { device, places } = parameters;
  for (const { name, spec, offset, length } of places) {
    const info = file.tensors.get(prefix + name);
    if (info === undefined) {
      throw new RangeError(`${file.path}: lacks "${prefix + name}"; it belongs to a model of another configuration`);
    }
    checkShape(`${file.path}: ${prefix + name}`, info.shape, spec.shape);
    const data = info.dtype === 'F64' ? (file.read(prefix + name) as Float64Array) : file.readFloat32(prefix + name);
    device.write(device.view(flat, offset, length), data);
  }
}

export interface LoadModelOptions extends SourceOptions, OpenModelOptions {}

export interface LoadedModel {
  readonly model: LanguageModel;
  readonly format: ModelFormat;
  readonly facts: ModelFacts;
}

/** What the model of a folder calls when it is run, for `openDevice`. @throws Error as `loadModel` does. */
export function kernelsOfFolder(folder: string, options: LoadModelOptions = {}): Set<KernelName> {
  using source = openModelSource(folder, options);
  return kernelsOf(source.config, { training: false });
}

/**
 * Opens the model of a folder.
 * @throws Error when a file is missing or damaged, saying which and how; RangeError when tensors do not fit the config.
 */
export function loadModel(folder: string, device: Device, options: LoadModelOptions = {}): LoadedModel {
  using source = openModelSource(folder, options);
  const { config, parameters, format, facts } = source;
  return { model: openModel(config, parameters, device, folder, options), format, facts };
}
