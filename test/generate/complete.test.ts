/** @file Whole completions: many prompts together give what each gives alone; several of one; stops; the command. */
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { GenerateOptions } from '../../src/generate/generate-text.js';
import { TextModel } from '../../src/generate/text-model.js';
import { commandIsBuilt, xlstm } from '../support/cli.js';
import { fastestDevice } from '../support/devices.js';
import { temporaryFolder } from '../support/folders.js';
import { smallModelFolder } from '../support/small-model.js';

const open = async () =>
  TextModel.load(await smallModelFolder(3, { blocks: ['mlstm', 'slstm', 'mlstmLarge'], mlstmLarge: { heads: 2 } }), {
    device: fastestDevice(),
  });

async function streamed(model: TextModel, prompt: string, options: GenerateOptions): Promise<string> {
  let text = '';
  for await (const piece of model.generate(prompt, options)) text += piece;
  return text;
}

const PROMPTS = ['a', 'some longer prompt of many words', '', 'été ☃', 'x'.repeat(70)];

describe('complete', () => {
  it.each([{ temperature: 0 }, { temperature: 0.9, seed: 5, topK: 20 }])(
    'ragged prompts together: %j',
    async (sampling) => {
      using model = await open();
      const options = { ...sampling, maxTokens: 15 };
      const completions = await model.complete(PROMPTS, options);
      expect(completions.map(({ prompt }) => prompt)).toEqual([0, 1, 2, 3, 4]);
      for (const { prompt, text, tokens, finishReason } of completions) {
        expect(text).toBe(await streamed(model, PROMPTS[prompt]!, options));
        expect(finishReason).toBe(tokens.length === 15 ? 'length' : 'stop');
      }
    },
  );

  it('a token that the tokenizer does not have is never chosen', async () => {
    const folder = await smallModelFolder(3, { vocabSize: 300 }); // 257 of bytes
    using model = await TextModel.load(folder, { device: fastestDevice() });
    const many = await model.complete('a', { n: 8, maxTokens: 40, temperature: 3, stopTokens: [] });
    const tokens = many.flatMap((completion) => completion.tokens.map(({ token }) => token));
    expect(tokens).toHaveLength(320);
    expect(Math.max(...tokens)).toBeLessThan(257);
    expect((await streamed(model, 'a', { maxTokens: 40, temperature: 3, stopTokens: [] })).length).toBeGreaterThan(0);
  });

  it('several of one prompt, each with its seed', async () => {
    using model = await open();
    const options = { temperature: 1, maxTokens: 12 };
    const completions = await model.complete('She sells', { ...options, n: 4, seed: 100 });
    for (const { index, text } of completions) {
      expect(text).toBe(await streamed(model, 'She sells', { ...options, seed: 100 + index }));
    }
    expect(new Set(completions.map(({ text }) => text)).size).toBeGreaterThan(1);
  });

  it('stop strings end a text before them, streamed or whole', async () => {
    using model = await open();
    const options = { temperature: 0, maxTokens: 60 };
    const whole = await streamed(model, 'She sells', options);
    const stop = [whole.slice(20, 22), 'never to be seen'];
    const wanted = whole.slice(0, whole.indexOf(stop[0]!));
    expect(await streamed(model, 'She sells', { ...options, stop })).toBe(wanted);
    const [completion] = await model.complete('She sells', { ...options, stop });
    expect(completion).toMatchObject({ text: wanted, finishReason: 'stop', promptTokens: 9 });
  });

  it('log-probabilities of every token', async () => {
    using model = await open();
    const [completion] = await model.complete('She', { temperature: 0, maxTokens: 5, logprobs: 2 });
    for (const { token, logprob, top } of completion!.tokens) {
      expect(top[0]).toEqual({ token, logprob });
      expect(top).toHaveLength(2);
      expect(logprob).toBeLessThan(0);
    }
  });

  it('a failure ends all of them; an aborted one says so', async () => {
    using model = await open();
    const bad = model.complete(['a', 'b'], { maxTokens: 1e6, logitBias: { 100000: 1 } });
    await expect(bad).rejects.toThrow(RangeError);
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 50);
    const aborted = await model.complete('a', { maxTokens: 1e6, stopTokens: [], signal: controller.signal });
    expect(aborted[0]!.finishReason).toBe('aborted');
  });
});

describe.skipIf(!commandIsBuilt)('the command (needs npm run build)', () => {
  it('prints completions of several prompts as JSON', async () => {
    const folder = await smallModelFolder(3);
    const file = path.join(temporaryFolder(), 'prompts.txt');
    fs.writeFileSync(file, 'one\ntwo two\n\n');
    const args = [
      'generate',
      folder,
      '--prompts-file',
      file,
      '-n',
      '2',
      '--json',
      '--logprobs',
      '1',
      '--max-tokens',
      '4',
    ];
    const { code, stdout, stderr } = await xlstm([...args, '--logit-bias', '65=100', '--device', fastestDevice()]);
    expect(code, stderr).toBe(0);
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines.map(({ prompt, index, text }) => [prompt, index, text])).toEqual([
      ['one', 0, 'AAAA'],
      ['one', 1, 'AAAA'],
      ['two two', 0, 'AAAA'],
      ['two two', 1, 'AAAA'],
    ]);
    expect(lines[0]!['logprobs']).toHaveLength(4);
    expect(lines[0]).toMatchObject({ finishReason: 'length', promptTokens: 3, tokens: [65, 65, 65, 65] });
  });

  it('stops, and refuses what cannot be in a sentence', async () => {
    const folder = await smallModelFolder(3);
    const run = (...args: string[]) => xlstm(['generate', folder, ...args, '--device', fastestDevice()]);
    const stopped = await run('x', '--logit-bias', '65=100', '--stop', 'AAA', '--max-tokens', '9');
    expect([stopped.code, stopped.stdout]).toEqual([0, 'x\n']);
    const cases: [args: string[], message: string][] = [
      [['x', '--logit-bias', 'a=1'], 'It must be a token and what is added'],
      [['x', '--top-p', '2'], 'topP must be from 0 to 1'],
      [['x', '--prompt-file', 'y'], 'give one of a prompt, --prompt-file and --prompts-file'],
      [['--prompt-file', 'no-such-file'], 'no-such-file'],
      [['x', '--logprobs', '21', '--json'], 'logprobs'],
    ];
    const results = await Promise.all(cases.map(([args]) => run(...args)));
    for (const [k, { code, stderr }] of results.entries()) {
      expect(code).toBe(1);
      expect(stderr).toContain(cases[k]![1]);
    }
  });
});
