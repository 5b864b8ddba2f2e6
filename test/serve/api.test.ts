/** @file The server as clients of OpenAI's API see it: the real client against every endpoint, states, reuse of states. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decode } from '../../src/generate/decode.js';
import { TextModel } from '../../src/generate/text-model.js';
import type { RunningServer } from '../../src/serve/server.js';
import { fastestDevice } from '../support/devices.js';
import { chatModelFolder, testServer } from '../support/server.js';

let server: RunningServer;
let client: OpenAI;
let text: TextModel;

const parent = fs.mkdtempSync(path.join(os.tmpdir(), 'xlstm-serve-test-'));
beforeAll(async () => {
  const folder = await chatModelFolder(parent);
  server = await testServer(folder);
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 });
  text = await TextModel.load(folder, { device: fastestDevice() });
});
afterAll(async () => {
  text.dispose();
  await server.close();
  fs.rmSync(parent, { recursive: true });
});

/** What the library gives for a prompt, without the server. */
async function alone(prompt: string, maxTokens: number): Promise<string> {
  const tokens: number[] = [];
  for await (const token of decode(text.model, text.tokenizer.encode(prompt), { maxTokens, temperature: 0 })) {
    tokens.push(token);
  }
  return text.tokenizer.decode(tokens);
}

const greedy = { model: 'tiny', temperature: 0, ignore_eos: true } as const;

/** A number of /metrics. */
async function metric(name: string): Promise<number> {
  const lines = (await (await fetch(`${server.url}/metrics`)).text()).split('\n');
  return Number(lines.find((line) => line.startsWith(`${name} `))!.split(' ')[1]);
}

describe('completions', () => {
  it('models', async () => {
    const { data } = await client.models.list();
    expect(data.map(({ id }) => id)).toEqual(['tiny']);
    expect((await client.models.retrieve('tiny')).object).toBe('model');
    await expect(client.models.retrieve('other')).rejects.toMatchObject({ status: 404, code: 'model_not_found' });
  });

  it('are what the library gives, whole and as a stream', async () => {
    const prompt = 'She sells sea shells';
    const wanted = await alone(prompt, 10);
    const whole = await client.completions.create({ ...greedy, prompt, max_tokens: 10 });
    expect(whole.choices[0]).toMatchObject({ text: wanted, finish_reason: 'length', index: 0 });
    expect(whole.usage).toMatchObject({ prompt_tokens: 20, completion_tokens: 10, total_tokens: 30 });
    const stream = await client.completions.create({
      ...greedy,
      prompt,
      max_tokens: 10,
      stream: true,
      stream_options: { include_usage: true },
    });
    let streamed = '';
    let last;
    for await (const chunk of stream) {
      streamed += chunk.choices[0]?.text ?? '';
      last = chunk;
    }
    expect(streamed).toBe(wanted);
    expect(last?.usage).toMatchObject({ prompt_tokens: 20, completion_tokens: 10 });
  });

  it('of several prompts and with several choices, in their order', async () => {
    const prompts = ['one', 'two two', 'three three three'];
    const { choices } = await client.completions.create({ ...greedy, prompt: prompts, max_tokens: 5, n: 2 });
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5]);
    for (const [k, prompt] of prompts.entries()) {
      const wanted = await alone(prompt, 5);
      expect([choices[2 * k]!.text, choices[2 * k + 1]!.text]).toEqual([wanted, wanted]);
    }
  });

  it('echo with log-probabilities, as evaluation harnesses ask for them', async () => {
    const tokens = [...text.tokenizer.encode('The cat sat')];
    const body = { ...greedy, prompt: tokens, max_tokens: 1, logprobs: 1, echo: true, seed: 1234 };
    const [choice] = (await client.completions.create(body)).choices;
    const { tokens: texts, token_logprobs: logprobs, top_logprobs: top, text_offset: offsets } = choice!.logprobs!;
    expect(choice!.text.startsWith('The cat sat')).toBe(true);
    expect(texts!.slice(0, 11).join('')).toBe('The cat sat');
    expect([texts!.length, logprobs!.length, top!.length]).toEqual([12, 12, 12]);
    expect([logprobs![0], top![0]]).toEqual([null, null]);
    expect(offsets!.slice(0, 11)).toEqual(Array.from({ length: 11 }, (_, k) => k));
    expect(logprobs!.slice(1).every((value) => value < 0)).toBe(true);
    expect(Object.keys(top![3]!)).toHaveLength(1);
    // The last one is the most probable: it was chosen greedily.
    expect(Object.values(top![11]!)[0]).toBe(logprobs![11]);
    const none = await client.completions.create({ ...body, max_tokens: 0 });
    expect(none.choices[0]!.logprobs!.token_logprobs).toHaveLength(11);
  });

  it('stop strings end a text before them, and nothing of them is given out', async () => {
    const wanted = await alone('Once upon a time', 40);
    const stop = wanted.slice(20, 22);
    const { choices } = await client.completions.create({
      ...greedy,
      prompt: 'Once upon a time',
      max_tokens: 40,
      stop,
    });
    expect(choices[0]).toMatchObject({ text: wanted.slice(0, wanted.indexOf(stop)), finish_reason: 'stop' });
  });

  it('always as many tokens as were asked for', async () => {
    const all = Array.from({ length: 40 }, (_, seed) =>
      client.completions.create({ model: 'tiny', prompt: 'Hi', max_tokens: 3, seed, ignore_eos: true } as never),
    );
    for (const { usage } of await Promise.all(all)) expect(usage!.completion_tokens).toBe(3);
  });
});

describe('chat', () => {
  const question = { role: 'user', content: 'How are you today, my good old friend?' } as const;

  it('by the template of the model, whole and as a stream', async () => {
    const wanted = await alone(`<user>${question.content}</><assistant>`, 8);
    const request = { ...greedy, messages: [question], max_tokens: 8 };
    const whole = await client.chat.completions.create(request);
    expect(whole.choices[0]).toMatchObject({
      message: { role: 'assistant', content: wanted },
      finish_reason: 'length',
    });
    const stream = await client.chat.completions.create({ ...request, stream: true });
    let streamed = '';
    const roles: unknown[] = [];
    let reason: unknown;
    for await (const { choices } of stream) {
      streamed += choices[0]?.delta.content ?? '';
      roles.push(choices[0]?.delta.role);
      reason = choices[0]?.finish_reason ?? reason;
    }
    expect([streamed, roles[0], reason]).toEqual([wanted, 'assistant', 'length']);
  });

  it('log-probabilities in the form of the chat', async () => {
    const request = { ...greedy, messages: [question], max_tokens: 3, logprobs: true, top_logprobs: 2 };
    const [choice] = (await client.chat.completions.create(request)).choices;
    const content = choice!.logprobs!.content!;
    expect(content).toHaveLength(3);
    expect(content[0]!.top_logprobs).toHaveLength(2);
    expect(content[0]!.top_logprobs[0]!.logprob).toBe(content[0]!.logprob);
    expect(content.every(({ bytes }) => Array.isArray(bytes))).toBe(true);
  });

  it('a second turn does not read the first again', async () => {
    const first = [{ role: 'system', content: 'You are terse. '.repeat(20) } as const, question];
    const prefilled = await metric('xlstm_tokens_prefilled_total');
    const one = await client.chat.completions.create({ ...greedy, messages: first, max_tokens: 6 });
    const answer = { role: 'assistant', content: one.choices[0]!.message.content! } as const;
    const second = [...first, answer, { role: 'user', content: 'And now?' } as const];
    const two = await client.chat.completions.create({ ...greedy, messages: second, max_tokens: 6 });
    const [before, after] = [one.usage!, two.usage!];
    expect(after.prompt_tokens_details!.cached_tokens).toBeGreaterThanOrEqual(before.prompt_tokens);
    const read = (await metric('xlstm_tokens_prefilled_total')) - prefilled;
    expect(read).toBe(before.prompt_tokens + after.prompt_tokens - after.prompt_tokens_details!.cached_tokens!);
    expect(read).toBeLessThan(after.prompt_tokens + 10);
    // What was reused changes nothing.
    const prompt = `${second.map(({ role, content }) => `<${role}>${content}</>`).join('')}<assistant>`;
    expect(two.choices[0]!.message.content).toBe(await alone(prompt, 6));
  });
});

describe('states', () => {
  const post = async (path: string, body: unknown) => {
    const response = await fetch(`${server.url}${path}`, { method: 'POST', body: JSON.stringify(body) });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };

  it('are kept by id, gone on from, downloaded and deleted', async () => {
    const book = 'It was the best of times, it was the worst of times.';
    const kept = await post('/v1/states', { prompt: book });
    expect(kept).toMatchObject({ status: 201, body: { object: 'state', tokens: book.length } });
    const id = kept.body['id'] as string;
    const wanted = await alone(`${book} And`, 6);
    for (let k = 0; k < 2; k++) {
      const { body } = await post('/v1/completions', { ...greedy, prompt: ' And', state_id: id, max_tokens: 6 });
      expect((body['choices'] as { text: string }[])[0]!.text).toBe(wanted);
    }
    const more = await post('/v1/states', { prompt: ' And', from: id });
    expect(more.body['tokens']).toBe(book.length + 4);
    const list = (await (await fetch(`${server.url}/v1/states`)).json()) as { data: { id: string }[] };
    expect(list.data.map((state) => state.id)).toEqual([id, more.body['id']]);
    const file = await (await fetch(`${server.url}/v1/states/${id}?download=1`)).arrayBuffer();
    expect(Buffer.from(file).toString('latin1')).toContain('xlstm-state');
    for (const each of [id, more.body['id'] as string]) {
      const { status } = await fetch(`${server.url}/v1/states/${each}`, { method: 'DELETE' });
      expect(status).toBe(200);
    }
    expect((await fetch(`${server.url}/v1/states/${id}`)).status).toBe(404);
    const gone = await post('/v1/completions', { prompt: 'a', state_id: id });
    expect(gone).toMatchObject({ status: 404, body: { error: { param: 'state_id' } } });
  });

  it('no more than are allowed, and no id is a path', async () => {
    const ids: string[] = [];
    for (let k = 0; k < 3; k++) ids.push((await post('/v1/states', { prompt: `state ${k}` })).body['id'] as string);
    expect((await post('/v1/states', { prompt: 'one too many' })).status).toBe(429);
    for (const id of ids) await fetch(`${server.url}/v1/states/${id}`, { method: 'DELETE' });
    for (const id of ['..%2f..%2fetc%2fpasswd', '%2e%2e', 'state-', '%00']) {
      const { status } = await fetch(`${server.url}/v1/states/${id}?download=1`);
      expect([404, 400]).toContain(status);
    }
  });
});
