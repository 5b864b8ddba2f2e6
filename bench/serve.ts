/**
 * @file Throughput of the server: so many clients at once, each asking again as soon as it is answered.
 *
 *     npx tsx bench/serve.ts FOLDER [--clients 1,4,16] [--tokens 64] [--prompt 128] [--seconds 10]
 */
import { parseArgs } from 'node:util';
import { startServer } from '../src/serve/server.js';
import { median, printTable } from './table.js';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    clients: { type: 'string', default: '1,4,16' },
    tokens: { type: 'string', default: '64' },
    prompt: { type: 'string', default: '128' },
    seconds: { type: 'string', default: '10' },
  },
});
const [folder] = positionals;
if (folder === undefined) throw new Error('serve: give a model folder: npx tsx bench/serve.ts FOLDER');
const [promptTokens, maxTokens] = [Number(values.prompt), Number(values.tokens)];

const server = await startServer({
  model: {
    ...{ folder, name: 'bench', load: { storage: 'stored' }, maxBatch: 16, prefillChunk: 128 },
    ...{ maxPromptTokens: 1e6, stateMemory: 0, stateDisk: 0, maxKeptStates: 0 },
  },
  ...{ host: '127.0.0.1', port: 0, apiKey: null, corsOrigin: [], maxBodyBytes: 1e7, maxQueue: 64 },
  ...{ maxSeconds: 600, drainSeconds: 0, log: null },
});

/** One request: seconds to the first piece of text, and in all. */
async function ask(number: number): Promise<{ first: number; whole: number }> {
  // Another prompt each time: nothing may be reused.
  const prompt = Array.from({ length: promptTokens }, (_, k) => (number * 7919 + k * 31) % 200);
  const body = JSON.stringify({ prompt, max_tokens: maxTokens, ignore_eos: true, stream: true });
  const begun = performance.now();
  const response = await fetch(`${server.url}/v1/completions`, { method: 'POST', body });
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  let first = 0;
  for await (const _ of response.body!) first ||= (performance.now() - begun) / 1000;
  return { first, whole: (performance.now() - begun) / 1000 };
}

const rows: string[][] = [];
let number = 0;
for (const clients of values.clients.split(',').map(Number)) {
  const answers: { first: number; whole: number }[] = [];
  const begun = performance.now();
  const until = begun + 1000 * Number(values.seconds);
  const client = async (): Promise<void> => {
    while (performance.now() < until) answers.push(await ask(number++));
  };
  await Promise.all(Array.from({ length: clients }, client));
  const seconds = (performance.now() - begun) / 1000;
  const wholes = answers.map(({ whole }) => whole).sort((a, b) => a - b);
  rows.push([
    String(clients),
    ((answers.length * maxTokens) / seconds).toFixed(0),
    ((answers.length * promptTokens) / seconds).toFixed(0),
    `${median(answers.map(({ first }) => first)).toFixed(2)} s`,
    `${median(wholes).toFixed(2)} s`,
    `${wholes[Math.floor(0.95 * wholes.length)]!.toFixed(2)} s`,
  ]);
}
await server.close();
console.log(`${folder}: ${server.model.device}; ${promptTokens} prompt tokens, ${maxTokens} generated`);
printTable(['clients', 'tokens/s', 'prompt tokens/s', 'first text', 'answer p50', 'p95'], rows);
