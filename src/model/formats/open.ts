/** @file Opens a folder with a model in it, whoever wrote it; which kind it is shows in its configuration. */
import fs from 'node:fs';
import path from 'node:path';
import { parse } from 'yaml';
import type { ModelConfig } from '../config.js';
import { parameterTable } from '../language-model.js';
import { INDEX, openTensors, readWeightMap } from '../safetensors-shards.js';
import type { TensorSet } from '../tensor-set.js';
import { foreignSources, type ForeignTensor } from './foreign.js';
import { hfLayout, jsonFormat } from './json-folder.js';
import { largeTensors, readLargeConfig } from './large.js';
import { openNativeSource } from './native.js';
import { CONFIG_FILE, parseJson } from './native-config.js';
import { backendOfShapes, paperTensors, readPaperConfig, RECURRENT_SUFFIX, type SlstmBackend } from './paper.js';
import type { ModelFormat, ModelSource, Origin } from './source.js';

export interface SourceOptions {
  /** Backend of NX-AI/xlstm that wrote the sLSTM parameters; needed where their shapes do not tell. */
  readonly sourceBackend?: SlstmBackend;
}

/** The configuration of NX-AI's folders. */
export const YAML_FILE = 'config.yaml';

/**
 * The kind of a folder.
 * @throws Error when it holds no configuration that this library knows.
 */
export function formatOf(folder: string): ModelFormat {
  const json = path.join(folder, CONFIG_FILE);
  if (fs.existsSync(json)) {
    return jsonFormat(parseJson(fs.readFileSync(json, 'utf8'), json), json);
  }
  const yaml = path.join(folder, YAML_FILE);
  if (fs.existsSync(yaml)) {
    const fields = parseYaml(fs.readFileSync(yaml, 'utf8'), yaml);
    if ('mlstm_block' in fields || 'slstm_block' in fields) return 'nxai';
    if ('embedding_dim' in fields && 'num_heads' in fields) return 'nxai-large';
    throw new Error(
      `${yaml}: is of no NX-AI model: it has neither mlstm_block or slstm_block, nor embedding_dim and num_heads`,
    );
  }
  const why = fs.existsSync(folder) ? 'holds neither a model nor checkpoints' : 'does not exist';
  throw new Error(
    `${folder}: ${why}; give a run folder, one of its checkpoints, or a folder with ${CONFIG_FILE} or ${YAML_FILE}`,
  );
}

/**
 * Opens a model folder and reads its configuration and the headers of its files; the tensors stay on disk.
 * @throws Error when it is no model folder or a file is missing or damaged, saying which and how; ConfigError for a
 *   configuration that is wrong or asks for what this library does not compute.
 */
export function openModelSource(folder: string, options: SourceOptions = {}): ModelSource {
  const format = formatOf(folder);
  if (format === 'native') return openNativeSource(folder);
  const file = openTensors(folder);
  try {
    const text = fs.readFileSync(configFile(folder, format), 'utf8');
    const { config, tensors, derived, ...layout } = foreignLayout(folder, format, text, file, options);
    const close = (): void => file.close();
    return {
      format,
      folder,
      config,
      facts: { tokenizer: null, training: {} },
      origin: { format, config: text, metadata: file.metadata, ...shardsOf(folder), ...layout },
      parameters: foreignSources(file, tensors, parameterTable(config), derived),
      close,
      [Symbol.dispose]: close,
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

const configFile = (folder: string, format: Exclude<ModelFormat, 'native'>): string =>
  path.join(folder, format === 'hf' ? CONFIG_FILE : YAML_FILE);

/** Which file each tensor is in, where there are several. */
function shardsOf(folder: string): Pick<Origin, 'weightMap' | 'index'> {
  const weightMap = readWeightMap(folder);
  if (weightMap === null) return {};
  const index = path.join(folder, INDEX);
  return { weightMap, ...(fs.existsSync(index) && { index: fs.readFileSync(index, 'utf8') }) };
}

interface ForeignLayout extends Pick<Origin, 'weightMode' | 'backend'> {
  readonly config: ModelConfig;
  readonly tensors: readonly ForeignTensor[];
  readonly derived?: RegExp | undefined;
}

/** Configuration and tensors of a folder of another library. */
function foreignLayout(
  folder: string,
  format: Exclude<ModelFormat, 'native'>,
  text: string,
  file: Pick<TensorSet, 'path' | 'tensors'>,
  options: SourceOptions,
): ForeignLayout {
  const name = configFile(folder, format);
  if (format === 'nxai') {
    const { config, backend: configured } = readPaperConfig(parseYaml(text, name), name);
    const backend = backendOf(file, configured, options, name);
    return { config, backend, tensors: paperTensors(config, parameterTable(config), backend) };
  }
  if (format === 'hf') return hfLayout(parseJson(text, name), name);
  const { config, weightMode } = readLargeConfig(parseYaml(text, name), format, name);
  return { config, weightMode, tensors: largeTensors(config, parameterTable(config), format, weightMode) };
}

/**
 * The backend whose layout the sLSTM parameters of a file have: as the shapes say, and nothing else may contradict them.
 * @throws Error where they do not say and nobody else does, or where they contradict what was said.
 */
function backendOf(
  file: Pick<TensorSet, 'path' | 'tensors'>,
  configured: SlstmBackend | null,
  { sourceBackend }: SourceOptions,
  configFile: string,
): SlstmBackend {
  const shapes = [...file.tensors].flatMap(([name, { shape }]) => (name.endsWith(RECURRENT_SUFFIX) ? [shape] : []));
  if (shapes.length === 0) return 'vanilla'; // without sLSTM blocks there is only one layout
  const found = backendOfShapes(shapes);
  const said = sourceBackend ?? configured;
  if (found !== null && sourceBackend !== undefined && found !== sourceBackend) {
    throw new Error(
      `${file.path}: the recurrent matrices have the shape of the ${found} backend, not of ${sourceBackend}`,
    );
  }
  const backend = found ?? said;
  if (backend !== null) return backend;
  throw new Error(
    `${file.path}: the shapes of the recurrent matrices do not tell which backend of NX-AI/xlstm wrote them, and the two ` +
      `order their elements differently; say which with --source-backend vanilla or cuda (${configFile} does not)`,
  );
}

/** @throws Error when the text is not a YAML object. */
export function parseYaml(text: string, file: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = parse(text, { maxAliasCount: 0 });
  } catch (cause) {
    throw new Error(`${file}: not YAML (${(cause as Error).message.split('\n')[0]})`, { cause });
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new Error(`${file}: must hold an object with the fields of the configuration`);
}
