/**
 * @file generation_config.json, which Hugging Face's libraries put beside a model: how its makers mean it to be sampled, and
 * which tokens end a text. It samples nothing.
 */
import fs from 'node:fs';
import path from 'node:path';
import * as z from 'zod';
import { checkConfig } from '../model/check-config.js';
import type { SamplingOptions } from './sampling-options.js';

const GENERATION_CONFIG_FILE = 'generation_config.json';

const id = () => z.number().int().min(0);

/** Not strict: the file has many fields that mean nothing here (beams, caches, versions). */
const schema = z.object({
  eos_token_id: z.union([id(), z.array(id())]).nullish(),
  do_sample: z.boolean().nullish(),
  temperature: z.number().min(0).nullish(),
  top_k: z.number().int().min(0).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  typical_p: z.number().positive().max(1).nullish(),
  repetition_penalty: z.number().positive().nullish(),
  max_new_tokens: z.number().int().min(1).nullish(),
});

export interface GenerationConfig {
  /** Tokens that end a text; null where the file names none. */
  readonly stopTokens: readonly number[] | null;
  /** Options of the sampler; empty where the file does not ask for sampling (`do_sample`). */
  readonly sampling: SamplingOptions;
  /** Largest number of tokens to generate; null where the file has none. */
  readonly maxTokens: number | null;
}

/**
 * Reads the file of a model folder.
 * @returns null where there is none
 * @throws Error when it is not JSON, ConfigError naming a field that is wrong.
 */
export function readGenerationConfig(folder: string): GenerationConfig | null {
  const file = path.join(folder, GENERATION_CONFIG_FILE);
  if (!fs.existsSync(file)) return null;
  let json: unknown;
  try {
    json = JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch (cause) {
    throw new Error(`${file}: not JSON (${(cause as Error).message})`, { cause });
  }
  const fields = checkConfig(schema, json, file);
  const { eos_token_id: eos, do_sample: samples } = fields;
  const named = {
    temperature: fields.temperature,
    topK: fields.top_k,
    topP: fields.top_p,
    minP: fields.min_p,
    typical: fields.typical_p,
    repetitionPenalty: fields.repetition_penalty,
  };
  const given = Object.entries(named).filter(([, value]) => value !== null && value !== undefined);
  return {
    stopTokens: eos === null || eos === undefined ? null : typeof eos === 'number' ? [eos] : eos,
    sampling: samples ? Object.fromEntries(given) : {},
    maxTokens: fields.max_new_tokens ?? null,
  };
}

/** Copies the file from one model folder into another, if there is one. */
export function copyGenerationConfig(from: string, to: string): void {
  const file = path.join(from, GENERATION_CONFIG_FILE);
  if (fs.existsSync(file)) fs.copyFileSync(file, path.join(to, GENERATION_CONFIG_FILE));
}
