/** @file Fine-tuning: what a run takes over from the model that it starts from, apart from the parameters. */
import fs from 'node:fs';
import path from 'node:path';
import { modelConfigSchema } from '../model/config.js';
import { openModelSource } from '../model/formats/open.js';
import type { RunConfig } from './config.js';
import { resolveModelFolder } from './run-folder.js';

/** Fields of a model that a run may choose anew: they change no shape of a parameter. */
const FREE = ['dropout'] as const;

/**
 * The configuration of a run that starts from the model `init`: that model's configuration, and its tokenizer where the
 * folder has one and the run names none of its own.
 * @throws Error when there is no model, or the run asks for another model.
 */
export function withInitialModel(config: RunConfig): RunConfig {
  const folder = resolveModelFolder(config.init);
  using source = openModelSource(folder);
  const model = source.config;
  const defaults = modelConfigSchema.parse({});
  const asked = (Object.keys(defaults) as (keyof typeof defaults)[]).filter(
    (field) => JSON.stringify(config.model[field]) !== JSON.stringify(defaults[field]),
  );
  const other = asked.find((field) => !(FREE as readonly string[]).includes(field));
  if (config.preset !== '' || other !== undefined) {
    const what = config.preset === '' ? `model.${other!}` : 'preset';
    throw new Error(`init: the model of ${config.init} is taken as it is; leave out ${what}`);
  }
  const own = fs.existsSync(path.join(folder, 'tokenizer.json'));
  const tokenizer = config.data.tokenizer === 'bytes' && own ? folder : config.data.tokenizer;
  const free = Object.fromEntries(
    FREE.filter((field) => asked.includes(field)).map((field) => [field, config.model[field]]),
  );
  return { ...config, init: folder, model: { ...model, ...free }, data: { ...config.data, tokenizer } };
}

/** @throws Error when a model that already exists has fewer tokens than the tokenizer. */
export function checkVocabulary({ init, model }: RunConfig, tokens: number): void {
  if (init === '' || tokens <= model.vocabSize) return;
  throw new Error(
    `init: the tokenizer has ${tokens} tokens, the model of ${init} ${model.vocabSize}; name its own tokenizer`,
  );
}
