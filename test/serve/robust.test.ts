/**
 * @file What a server on the open road meets: nonsense, too much of everything, clients that leave or do not read, two
 * hundred at once, a key, a foreign name, an end while it works. It counts who gets an answer.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunningServer } from '../../src/serve/server.js';
import { fastestDevice } from '../support/devices.js';
import { chatModelFolder, testServer } from '../support/server.js';

const parent = fs.mkdtempSync(path.join(os.tmpdir(), 'xlstm-serve-test-'));
let folder: string;
let server: RunningServer;
beforeAll(async () => {
  folder = await chatModelFolder(parent);
  server = await testServer(folder);
});
afterAll(async () => {
  await server.close();
  fs.rmSync(parent, { recursive: true });
});

const post = (url: string, body: string, headers: Record<string, string> = {}, signal?: AbortSignal) =>
  fetch(url, { method: 'POST', body, headers, ...(signal && { signal }) });
const completions = (body: object, at = server) => post(`${at.url}/v1/completions`, JSON.stringify(body));
interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string | null;
  };
}
const errorOf = async (response: Response) => ((await response.json()) as ErrorBody).error;
async function metric(name: string, at = server): Promise<number> {
  const lines = (await (await fetch(`${at.url}/metrics`)).text()).split('\n');
  return Number(lines.find((line) => line.startsWith(`${name} `))!.split(' ')[1]);
}
const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));
async function until(condition: () => Promise<boolean>): Promise<void> {
  for (let k = 0; k < 200 && !(await condition()); k++) await pause(20);
  expect(await condition()).toBe(true);
}
const idle = async () =>
  (await metric('xlstm_requests_running')) === 0 && (await metric('xlstm_sequences_decoding')) === 0;

describe('nonsense', () => {
  it.each([
    ['{', 'the body is not JSON', null],
    ['[]', 'expected object', null],
    ['{}', 'prompt', 'prompt'],
    ['{"prompt": 3}', 'prompt', 'prompt'],
    ['{"prompt": "a", "max_tokens": "many"}', 'max_tokens', 'max_tokens'],
    ['{"prompt": "a", "max_tokens": -1}', 'max_tokens', 'max_tokens'],
    ['{"prompt": "a", "temperature": 1e999}', 'temperature', 'temperature'],
    ['{"prompt": "a", "temprature": 1}', 'unknown field "temprature"', 'temprature'],
    ['{"prompt": "a", "n": 100000}', 'n', 'n'],
    ['{"prompt": "a", "best_of": 4}', 'best_of: must be n', 'best_of'],
    ['{"prompt": "a", "suffix": "z"}', 'suffix: is not supported', 'suffix'],
    ['{"prompt": [1, 2, 99999]}', 'there is no token 99999 (at position 2)', 'prompt'],
    ['{"prompt": "a", "stop": ["", "b"]}', 'stop', 'stop.0'],
    ['{"prompt": "a", "state_id": "state-none"}', 'there is no state of this id', 'state_id'],
  ])('%s', async (body, message, param) => {
    const response = await post(`${server.url}/v1/completions`, body);
    const error = await errorOf(response);
    expect([400, 404]).toContain(response.status);
    expect(error.message).toContain(message);
    expect(error.param).toBe(param);
  });

  it('any JSON: an answer in the form of the API, never a 500', async () => {
    const fields = [
      'prompt',
      'messages',
      'max_tokens',
      'stop',
      'n',
      'stream',
      'logprobs',
      'echo',
      'seed',
      'logit_bias',
    ];
    const body = fc.oneof(
      fc.json(),
      fc.dictionary(fc.constantFrom(...fields), fc.jsonValue({ maxDepth: 2 })).map((value) => JSON.stringify(value)),
      fc.string(),
    );
    const paths = fc.constantFrom('/v1/completions', '/v1/chat/completions', '/v1/states');
    await fc.assert(
      fc.asyncProperty(paths, body, async (at, text) => {
        const response = await post(server.url + at, text);
        const answer = await response.text();
        if (response.ok) return;
        expect(response.status).toBeLessThan(500);
        expect(typeof (JSON.parse(answer) as ErrorBody).error.message).toBe('string');
      }),
      { numRuns: 150 },
    );
    for (const { id } of ((await (await fetch(`${server.url}/v1/states`)).json()) as { data: { id: string }[] }).data) {
      await fetch(`${server.url}/v1/states/${id}`, { method: 'DELETE' });
    }
  });

  it('addresses and methods that are not there', async () => {
    expect((await fetch(`${server.url}/v2/x`)).status).toBe(404);
    expect((await fetch(`${server.url}/v1/completions`)).status).toBe(405);
  });
});

describe('bounds', () => {
  it('of the body, of the prompt, of the queue, of the time', async () => {
    const large = await completions({ prompt: 'x'.repeat(200_000) });
    expect([large.status, (await errorOf(large)).code]).toEqual([413, 'body_too_large']);
    const long = await completions({ prompt: 'x'.repeat(6000) });
    expect([long.status, (await errorOf(long)).message]).toEqual([
      413,
      expect.stringContaining('6000 tokens, more than'),
    ]);

    const small = await testServer(folder, { maxQueue: 1, maxSeconds: 0.3 }, { maxBatch: 1 });
    const slow = { prompt: 'a', max_tokens: 1_000_000, ignore_eos: true };
    const all = await Promise.all(Array.from({ length: 6 }, () => completions(slow, small)));
    const statuses = all.map(({ status }) => status).sort((a, b) => a - b);
    expect(statuses).toEqual([429, 429, 429, 429, 504, 504]);
    const refused = all.find(({ status }) => status === 429)!;
    expect(refused.headers.get('Retry-After')).toBe('1');
    expect(await errorOf(refused)).toMatchObject({ type: 'rate_limit_error', code: 'queue_full' });
    const stream = await completions({ ...slow, stream: true }, small);
    expect(await stream.text()).toMatch(/"code":"timeout"\}\}\n\ndata: \[DONE\]\n\n$/);
    await small.close();
  });

  it('the key, the name of the host, the origin of a page', async () => {
    const guarded = await testServer(folder, { apiKey: 'secret', corsOrigin: ['https://example.org'] });
    const models = (headers: Record<string, string>) => fetch(`${guarded.url}/v1/models`, { headers });
    expect((await models({})).status).toBe(401);
    expect((await models({ Authorization: 'Bearer secre' })).status).toBe(401);
    expect((await models({ Authorization: 'Bearer secret' })).status).toBe(200);
    expect((await fetch(`${guarded.url}/health`)).status).toBe(200);
    const allowed = await models({ Authorization: 'Bearer secret', Origin: 'https://example.org' });
    expect(allowed.headers.get('Access-Control-Allow-Origin')).toBe('https://example.org');
    await guarded.close();
    expect(
      (await fetch(`${server.url}/v1/models`, { headers: { Origin: 'https://example.org' } })).headers.get(
        'Access-Control-Allow-Origin',
      ),
    ).toBeNull();
    const port = Number(new URL(server.url).port);
    const answer = await raw(port, 'GET /v1/models HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n');
    expect(answer).toMatch(/^HTTP\/1\.1 403 /);
  });
});

/** Sends bytes over a socket and gives what comes back until the other side ends. */
async function raw(port: number, text: string): Promise<string> {
  const socket = net.connect(port, '127.0.0.1');
  socket.end(text);
  let answer = '';
  socket.setEncoding('utf8').on('data', (part: string) => (answer += part));
  await once(socket, 'close');
  return answer;
}

describe('clients', () => {
  it('that leave in the middle free their place', async () => {
    for (const stream of [true, false]) {
      const controller = new AbortController();
      const body = JSON.stringify({ prompt: 'a', max_tokens: 1_000_000, ignore_eos: true, stream });
      const answer = post(`${server.url}/v1/completions`, body, {}, controller.signal);
      const reading = answer.then((response) => response.text()).catch((error: Error) => error.name);
      await until(async () => (await metric('xlstm_sequences_decoding')) === 1);
      controller.abort();
      expect(await reading).toBe('AbortError');
      await until(idle);
    }
  });

  it('that send slowly hold nobody up, and one that does not read is left behind', async () => {
    const port = Number(new URL(server.url).port);
    const slow = net.connect(port, '127.0.0.1');
    slow.write('POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"prompt"');
    const deaf = net.connect(port, '127.0.0.1');
    const body = JSON.stringify({ prompt: 'a', max_tokens: 2000, ignore_eos: true, stream: true });
    deaf.write(`POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    deaf.pause();
    const begun = performance.now();
    const response = await completions({ prompt: 'b', max_tokens: 3, ignore_eos: true });
    expect(((await response.json()) as { usage: { completion_tokens: number } }).usage.completion_tokens).toBe(3);
    expect(performance.now() - begun).toBeLessThan(5000);
    slow.destroy();
    deaf.destroy();
    await until(idle);
  });

  it('that never read are cut off: the model does not work for them', async () => {
    const deaf = net.connect(Number(new URL(server.url).port), '127.0.0.1');
    const body = JSON.stringify({ prompt: 'a', max_tokens: 1_000_000, ignore_eos: true, stream: true, logprobs: 20 });
    deaf.write(`POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    deaf.pause();
    await until(async () => (await metric('xlstm_sequences_decoding')) === 1);
    for (let k = 0; k < 600 && !(await idle()); k++) await pause(50);
    expect(await idle()).toBe(true);
    deaf.destroy();
  });

  it('two hundred at once: each gets its own answer', async () => {
    const prompts = Array.from({ length: 200 }, (_, k) => `client number ${k}`);
    const body = { max_tokens: 4, temperature: 0, ignore_eos: true };
    const answers = await Promise.all(
      prompts.map(async (prompt) => {
        const response = await completions({ ...body, prompt });
        return { status: response.status, body: (await response.json()) as { choices: { text: string }[] } };
      }),
    );
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(200);
    for (const k of [0, 57, 131, 199]) {
      const alone = await completions({ ...body, prompt: prompts[k] });
      expect(answers[k]!.body.choices[0]!.text).toBe(
        ((await alone.json()) as { choices: { text: string }[] }).choices[0]!.text,
      );
    }
  });

  it('never see the state of another: what they get together is what they get alone', async () => {
    const request = fc.record({
      prompt: fc.string({ minLength: 1, maxLength: 60 }),
      max_tokens: fc.integer({ min: 1, max: 8 }),
    });
    const ask = async (one: object) => {
      const response = await completions({ ...one, temperature: 0, ignore_eos: true, logprobs: 0 });
      return (await response.json()) as { choices: { text: string; logprobs: { tokens: string[] } }[] };
    };
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 2, maxLength: 6 }), async (requests) => {
        const together = await Promise.all(requests.map(ask));
        for (const [k, one] of requests.entries()) {
          const alone = await ask(one);
          expect(together[k]!.choices[0]!.text).toBe(alone.choices[0]!.text);
        }
      }),
      { numRuns: 12 },
    );
  });

  // On a busy machine the system itself may hold a thread up now and then; a kernel on it would do so each time.
  it('are answered while the model works: the event loop is never held up for long', { retry: 2 }, async () => {
    await metric('xlstm_event_loop_delay_max_seconds');
    const busy = Promise.all(
      Array.from({ length: 4 }, () => completions({ prompt: 'x'.repeat(3000), max_tokens: 300, ignore_eos: true })),
    );
    let checks = 0;
    let worst = 0;
    const watch = (async () => {
      while (!(await Promise.race([busy.then(() => true), pause(50).then(() => false)]))) {
        worst = Math.max(worst, await metric('xlstm_event_loop_delay_max_seconds'));
        checks++;
      }
    })();
    await Promise.all([busy, watch]);
    expect(checks).toBeGreaterThan(0);
    expect(worst).toBeLessThan(0.05);
  });
});

it('ends in order: what runs may finish, what is new is refused, the exit code is 0', async () => {
  const main = new URL('../../dist/cli/main.js', import.meta.url).pathname;
  const args = ['serve', folder, '--port', '0', '--quiet', '--device', fastestDevice()];
  const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const [line] = (await once(child.stdout.setEncoding('utf8'), 'data')) as [string];
  const url = /http:\/\/[\d.:]+/.exec(line)![0];
  const running = post(`${url}/v1/completions`, JSON.stringify({ prompt: 'a', max_tokens: 3000, ignore_eos: true }));
  const decoding = async () => (await metric('xlstm_sequences_decoding', { url } as RunningServer)) === 1;
  await until(decoding);
  child.kill('SIGTERM');
  const response = await running;
  expect(response.status).toBe(200);
  expect(((await response.json()) as { usage: { completion_tokens: number } }).usage.completion_tokens).toBe(3000);
  expect(await once(child, 'exit')).toEqual([0, null]);
  await expect(fetch(`${url}/health`)).rejects.toThrow();
});
