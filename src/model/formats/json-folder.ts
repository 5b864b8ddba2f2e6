/**
 * @file Model folders whose configuration is a config.json: which kind one is, and for those of Hugging Face transformers
 * how their tensors are made. It opens no files; `open.ts` does, `../model-files.ts` has them in memory, and
 * `../open-files.ts` as blobs.
 */
import type { ModelConfig } from '../config.js';
import { parameterTable } from '../language-model.js';
import type { TensorSet } from '../tensor-set.js';
import { foreignSources, type ForeignTensor } from './foreign.js';
import { largeTensors, readLargeConfig, type WeightMode } from './large.js';
import { CONFIG_FILE, nativeParameters, parseJson, parseModelFolder } from './native-config.js';
import type { ModelSource } from './source.js';
import { architectureNames, architectureOf } from './transformers.js';

/**
 * The kind of a folder with this config.json.
 * @param name  the file, for errors
 * @throws Error when it is of no model that this library reads.
 */
export function jsonFormat(fields: Readonly<Record<string, unknown>>, name: string): 'native' | 'hf' {
  const { format, model_type: type } = fields;
  if (format === 'xlstm') return 'native';
  if (type === 'xlstm' || architectureOf(fields) !== undefined) return 'hf';
  const what = type === undefined ? 'has no "model_type"' : `is of a model of type ${JSON.stringify(type)}`;
  throw new Error(`${name}: ${what}; this library reads ${['xlstm', ...architectureNames].join(', ')}`);
}

export interface HfLayout {
  readonly config: ModelConfig;
  readonly tensors: readonly ForeignTensor[];
  /** Names of tensors that follow from the configuration and are passed over. */
  readonly derived?: RegExp | undefined;
  /** Whether matrices of one input are joined (xLSTM Large). */
  readonly weightMode?: WeightMode;
}

/**
 * Configuration and tensors of a folder of Hugging Face transformers.
 * @throws ConfigError naming each field that is wrong or asks for what this library does not compute.
 */
export function hfLayout(fields: Readonly<Record<string, unknown>>, name: string): HfLayout {
  const architecture = architectureOf(fields);
  if (architecture !== undefined) {
    const config = architecture.readConfig(fields, name);
    return { config, tensors: architecture.tensors(config, parameterTable(config)), derived: architecture.derived };
  }
  const { config, weightMode } = readLargeConfig(fields, 'hf', name);
  return { config, weightMode, tensors: largeTensors(config, parameterTable(config), 'hf', weightMode) };
}

/**
 * The model that a config.json describes, whose tensors are `weights`.
 * @throws Error when it is of no model that this library reads; ConfigError naming each field that is wrong.
 */
export function sourceOf(text: string, weights: TensorSet): Pick<ModelSource, 'config' | 'parameters' | 'facts'> {
  const fields = parseJson(text, CONFIG_FILE);
  if (jsonFormat(fields, CONFIG_FILE) === 'native') {
    const folder = parseModelFolder(text, CONFIG_FILE);
    const { model: config, tokenizer, training } = folder;
    return { config, parameters: nativeParameters(folder, weights), facts: { tokenizer, training } };
  }
  const { config, tensors, derived } = hfLayout(fields, CONFIG_FILE);
  const parameters = foreignSources(weights, tensors, parameterTable(config), derived);
  return { config, parameters, facts: { tokenizer: null, training: {} } };
}
