/**
 * @file The architectures of Hugging Face transformers that this library reads and writes beside xLSTM Large (`large.ts`),
 * by the `model_type` of their config.json. Each is a file with a table of names that serves both directions.
 */
import type { ParameterTable } from '../../layers/parameter.js';
import type { ModelConfig } from '../config.js';
import type { ForeignTensor } from './foreign.js';
import { llama } from './llama.js';
import { mamba } from './mamba.js';
import { mamba2 } from './mamba2.js';
import { rwkv } from './rwkv.js';

export interface Architecture {
  /** As config.json names it. */
  readonly modelType: string;
  /** The mixer that all its blocks have here. */
  readonly mixer: string;
  /**
   * The configuration in this library's terms.
   * @throws ConfigError naming each field that is wrong or asks for what this library does not compute.
   */
  readConfig(value: unknown, what: string): ModelConfig;
  /** Why a model whose blocks all have the mixer cannot be written in this layout, or null. */
  refusal(config: ModelConfig): string | null;
  /** The fields of config.json, `model_type` included. */
  writeConfig(config: ModelConfig): Record<string, unknown>;
  tensors(config: ModelConfig, table: ParameterTable): ForeignTensor[];
  /** Names of tensors that follow from the configuration and are passed over. */
  readonly derived?: RegExp;
}

const ARCHITECTURES: readonly Architecture[] = [llama, mamba, mamba2, rwkv];

/** Values of `model_type` that are read, that of xLSTM Large not counted. */
export const architectureNames = ARCHITECTURES.map(({ modelType }) => modelType);

/** The architecture of a config.json; undefined for that of xLSTM Large, and for others. */
export function architectureOf(fields: unknown): Architecture | undefined {
  const type = (fields as { model_type?: unknown }).model_type;
  return ARCHITECTURES.find(({ modelType }) => modelType === type);
}

/** The architecture that may hold a model of this library. */
export const architectureFor = ({ blocks }: ModelConfig): Architecture | undefined =>
  ARCHITECTURES.find(({ mixer }) => blocks.every((kind) => kind === mixer));
