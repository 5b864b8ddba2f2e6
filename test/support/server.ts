/** @file A server with a tiny model, as tests need it: in this process, with its model's thread. */
import fs from 'node:fs';
import path from 'node:path';
import { startServer, type RunningServer, type ServerOptions } from '../../src/serve/server.js';
import type { ModelOptions } from '../../src/serve/protocol.js';
import { fastestDevice } from './devices.js';
import { smallModelFolder } from './small-model.js';

/** Each message in angle brackets; the assistant speaks behind its own. */
const TEMPLATE =
  '{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}';

/** A model folder with a chat template, in `parent`. */
export async function chatModelFolder(parent: string): Promise<string> {
  const size = { dim: 32, blocks: ['mlstm', 'slstm', 'mlstmLarge'], mlstmLarge: { heads: 2 } };
  const folder = await smallModelFolder(2, size, true, parent);
  const file = path.join(folder, 'tokenizer_config.json');
  const config = JSON.parse(fs.readFileSync(file, 'utf8')) as object;
  fs.writeFileSync(file, JSON.stringify({ ...config, chat_template: TEMPLATE }));
  return folder;
}

/** Starts a server on a free port of this machine. */
export function testServer(
  folder: string,
  options: Partial<Omit<ServerOptions, 'model'>> = {},
  model: Partial<ModelOptions> = {},
): Promise<RunningServer> {
  return startServer({
    model: {
      folder,
      name: 'tiny',
      load: { device: fastestDevice(), storage: 'stored' },
      maxBatch: 4,
      prefillChunk: 32,
      maxPromptTokens: 5000,
      stateMemory: 50e6,
      stateDisk: 50e6,
      maxKeptStates: 3,
      ...model,
    },
    host: '127.0.0.1',
    port: 0,
    apiKey: null,
    corsOrigin: [],
    maxBodyBytes: 100_000,
    maxQueue: 300,
    maxSeconds: 60,
    drainSeconds: 10,
    log: null,
    ...options,
  });
}
