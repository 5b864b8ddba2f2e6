/** @file This library's own model folders: config.json and model.safetensors, whose tensors have the library's names. */
import fs from 'node:fs';
import path from 'node:path';
import { openTensors } from '../safetensors-shards.js';
import { CONFIG_FILE, nativeParameters, parseModelFolder } from './native-config.js';
import type { ModelSource } from './source.js';

/** @throws Error when a file is missing or damaged, saying which and how. */
export function openNativeSource(folder: string): ModelSource {
  const configFile = path.join(folder, CONFIG_FILE);
  const description = parseModelFolder(fs.readFileSync(configFile, 'utf8'), configFile);
  const { model: config, tokenizer, training, origin = null } = description;
  const file = openTensors(folder);
  const parameters = nativeParameters(description, file);
  const close = (): void => file.close();
  return {
    format: 'native',
    folder,
    config,
    facts: { tokenizer, training },
    origin,
    parameters,
    close,
    [Symbol.dispose]: close,
  };
}
