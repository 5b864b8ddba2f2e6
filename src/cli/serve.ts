/** @file `xlstm serve`: a model behind an HTTP API in the form of OpenAI's. */
import path from 'node:path';
import { Command } from 'commander';
import { startServer } from '../serve/server.js';
import { isLoopback } from '../serve/security.js';
import { formatCount } from '../format.js';
import { addModelOptions, loadOptions, type ModelOptions } from './model-options.js';
import { numberFrom } from './options.js';

interface Options extends ModelOptions {
  host: string;
  port: number;
  name?: string;
  apiKey?: string;
  corsOrigin: string[];
  maxBatch: number;
  prefillChunk?: number;
  maxQueue: number;
  maxBody: number;
  maxPromptTokens: number;
  maxSeconds: number;
  drainSeconds: number;
  stateMemory: number;
  stateDisk: number;
  maxKeptStates: number;
  quiet?: boolean;
}

export function serveCommand(): Command {
  const whole = (least: number) => numberFrom(least, true);
  const command = new Command('serve')
    .description("Serve a model over HTTP in the form of OpenAI's API: completions, chat, states.")
    .argument('<model>', 'a run (its best checkpoint), a checkpoint, or a model folder')
    .option('--port <n>', 'port; 0 takes any that is free', whole(0), 8080)
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('--name <name>', 'name of the model in the API (default: that of its folder)')
    .option('--api-key <key>', 'key that clients must send (default: $XLSTM_API_KEY, else none)')
    .option('--cors-origin <origins...>', 'web origins whose pages may ask (default: none)', [])
    .option('--max-batch <n>', 'sequences that are decoded together', whole(1), 8)
    .option(
      '--prefill-chunk <n>',
      'prompt tokens that are read between two steps (default: 128, on cuda 1024)',
      whole(1),
    )
    .option('--max-queue <n>', 'requests that may wait; more are refused with 429', whole(0), 64)
    .option('--max-body <bytes>', 'largest body of a request', whole(1), 4 << 20)
    .option('--max-prompt-tokens <n>', 'longest prompt', whole(1), 1_000_000)
    .option('--max-seconds <s>', 'longest time of a request', numberFrom(0.001), 600)
    .option('--drain-seconds <s>', 'time that running requests get when the server ends', numberFrom(0), 30)
    .option('--state-memory <MB>', 'memory for states that are kept for reuse', numberFrom(0), 512)
    .option('--state-disk <MB>', 'disk for more of them', numberFrom(0), 2048)
    .option('--max-kept-states <n>', 'states that clients may keep by id', whole(0), 64)
    .option('--quiet', 'no line per request');
  return addModelOptions(command)
    .addHelpText(
      'after',
      `
SIGTERM and Ctrl-C let running requests end; a second one does not. Endpoints, limits and security are described in
docs/server.md.

Example:
  xlstm serve runs/sotu --port 8080
  curl http://localhost:8080/v1/completions -H 'Content-Type: application/json' -d '{"prompt": "My fellow"}'`,
    )
    .action(serve);
}

async function serve(folder: string, options: Options): Promise<void> {
  const apiKey = options.apiKey ?? process.env['XLSTM_API_KEY'] ?? '';
  if (!isLoopback(options.host) && apiKey === '') {
    process.stderr.write(`xlstm: anybody who reaches ${options.host} may use this server; --api-key asks for a key\n`);
  }
  const name = options.name ?? path.basename(path.resolve(folder));
  const server = await startServer({
    model: {
      folder,
      name,
      load: loadOptions(options),
      maxBatch: options.maxBatch,
      ...(options.prefillChunk !== undefined && { prefillChunk: options.prefillChunk }),
      maxPromptTokens: options.maxPromptTokens,
      stateMemory: options.stateMemory * 1e6,
      stateDisk: options.stateDisk * 1e6,
      maxKeptStates: options.maxKeptStates,
    },
    host: options.host,
    port: options.port,
    apiKey: apiKey === '' ? null : apiKey,
    corsOrigin: options.corsOrigin,
    maxBodyBytes: options.maxBody,
    maxQueue: options.maxQueue,
    maxSeconds: options.maxSeconds,
    drainSeconds: options.drainSeconds,
    log: options.quiet ? null : (line) => process.stdout.write(`${line}\n`),
    onDeath: (error) => {
      process.stderr.write(`xlstm: serve: ${error.message}\n`);
      setTimeout(() => process.exit(1), 200); // after the answers to those who waited
    },
  });
  const { model, url } = server;
  process.stdout.write(`${name} (${formatCount(model.parameters)} parameters) at ${url}, ${model.device}\n`);
  const end = (): void => {
    process.once('SIGTERM', () => process.exit(130)).once('SIGINT', () => process.exit(130));
    process.stderr.write('ending: running requests may finish\n');
    server.close().then(
      () => process.exit(0),
      (error: Error) => {
        process.stderr.write(`xlstm: ${error.message}\n`);
        process.exit(1);
      },
    );
  };
  const once = (): void => {
    process.off('SIGTERM', once).off('SIGINT', once);
    end();
  };
  process.on('SIGTERM', once).on('SIGINT', once);
}
