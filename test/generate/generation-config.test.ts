/** @file generation_config.json: what is taken from it, and where a text ends by it. */
import fs from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { decode } from '../../src/generate/decode.js';
import { readGenerationConfig } from '../../src/generate/generation-config.js';
import { TextModel } from '../../src/generate/text-model.js';
import { fastestDevice } from '../support/devices.js';
import { temporaryFolder } from '../support/folders.js';
import { smallModelFolder } from '../support/small-model.js';

const write = (folder: string, value: unknown) =>
  fs.writeFileSync(
    path.join(folder, 'generation_config.json'),
    typeof value === 'string' ? value : JSON.stringify(value),
  );

it('is read in this library’s terms', () => {
  const folder = temporaryFolder();
  expect(readGenerationConfig(folder)).toBeNull();
  write(folder, {
    ...{ eos_token_id: [2, 7], do_sample: true, temperature: 0.7, top_k: 40, top_p: null, num_beams: 1 },
    ...{ repetition_penalty: 1.1, max_new_tokens: 99, transformers_version: '5.17.0' },
  });
  expect(readGenerationConfig(folder)).toEqual({
    stopTokens: [2, 7],
    sampling: { temperature: 0.7, topK: 40, repetitionPenalty: 1.1 },
    maxTokens: 99,
  });
  write(folder, { eos_token_id: 3, temperature: 0.7 });
  expect(readGenerationConfig(folder)).toEqual({ stopTokens: [3], sampling: {}, maxTokens: null });
});

it('refuses what is wrong, naming it', () => {
  const folder = temporaryFolder();
  write(folder, '{');
  expect(() => readGenerationConfig(folder)).toThrow(/generation_config\.json: not JSON/);
  write(folder, { temperature: -1 });
  expect(() => readGenerationConfig(folder)).toThrow(/generation_config\.json: temperature: .*got -1/);
});

it('its end tokens end a text, and its sampling is the default', async () => {
  const folder = await smallModelFolder();
  const generate = async () => {
    using model = await TextModel.load(folder, { device: fastestDevice() });
    let text = '';
    for await (const piece of model.generate('She sells', { maxTokens: 12 })) text += piece;
    return text;
  };
  write(folder, { do_sample: true, temperature: 0 });
  const greedy = await generate();
  expect(await generate()).toBe(greedy);
  using model = await TextModel.load(folder, { device: fastestDevice() });
  const tokens: number[] = [];
  const options = { maxTokens: 12, temperature: 0 };
  for await (const token of decode(model.model, model.tokenizer.encode('She sells'), options)) tokens.push(token);
  const stop = tokens[4]!;
  write(folder, { do_sample: true, temperature: 0, eos_token_id: [stop] });
  const shorter = model.tokenizer.decode(tokens.slice(0, tokens.indexOf(stop)));
  expect(await generate()).toBe(shorter);
});
