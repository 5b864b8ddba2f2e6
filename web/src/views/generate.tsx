/** @file The Generate view: continues a prompt with the model that is there, as it comes. */
import { useState } from 'preact/hooks';
import { formatCount, formatDuration, printable } from '../../../src/format.js';
import type { GenerateSettings } from '../protocol.js';
import { generate, stopGenerating, usePage, type Generation } from '../state.js';
import { NumberField } from './parts/fields.js';

const DEFAULTS: GenerateSettings = { prompt: '', temperature: 0.8, topK: 0, topP: 0.95, seed: 1, maxTokens: 300 };

/** What was asked for last, while the page is open: the view comes and goes. */
let last = DEFAULTS;

/** What is wrong with the settings, in a sentence; null where nothing is. */
function problemOf({ temperature, topK, topP, seed, maxTokens }: GenerateSettings): string | null {
  if (!(temperature >= 0 && temperature <= 100))
    return 'The temperature is a number from 0 on; 0 takes the most probable token.';
  if (!(Number.isInteger(topK) && topK >= 0)) return 'Top-k is a whole number; 0 takes all tokens.';
  if (!(topP > 0 && topP <= 1)) return 'Top-p is a number above 0 and at most 1.';
  if (!(Number.isInteger(seed) && seed >= 0)) return 'The seed is a whole number from 0 on.';
  if (!(Number.isInteger(maxTokens) && maxTokens >= 1)) return 'Max tokens is a whole number from 1 on.';
  return null;
}

export function GenerateView() {
  const { model, generation, phase } = usePage();
  const [settings, setSettings] = useState(last);
  const change = (changes: Partial<GenerateSettings>): void => {
    last = { ...settings, ...changes };
    setSettings(last);
  };
  const problem = problemOf(settings);
  const begin = (event: Event): void => {
    event.preventDefault();
    if (model !== null && problem === null && !generation.running) void generate(settings);
  };
  const number = (label: string, field: Exclude<keyof GenerateSettings, 'prompt'>, hint: string) => (
    <NumberField label={label} hint={hint} value={settings[field]} onChange={(value) => change({ [field]: value })} />
  );
  return (
    <div class="columns">
      <form class="card setup" onSubmit={begin} aria-label="Generation">
        <div class="field wide">
          <label for="prompt">Prompt</label>
          <textarea
            id="prompt"
            rows={4}
            value={settings.prompt}
            placeholder="Empty: the model begins a text of its own"
            onInput={({ currentTarget }) => change({ prompt: currentTarget.value })}
            onKeyDown={(event) => {
              if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) begin(event);
            }}
          />
        </div>
        <fieldset>
          <legend>Sampling</legend>
          <div class="fields">
            {number('Temperature', 'temperature', '0 takes the most probable token; above 1 is wilder')}
            {number('Max tokens', 'maxTokens', 'Where it ends at the latest')}
          </div>
          <div class="fields three">
            {number('Top-k', 'topK', 'Choose among the k most probable tokens; 0: all')}
            {number('Top-p', 'topP', 'Choose among the tokens that together hold this probability')}
            {number('Seed', 'seed', 'Same seed, same text')}
          </div>
        </fieldset>
        {problem !== null && (
          <p class="size problem" role="alert">
            {problem}
          </p>
        )}
        <div class="actions">
          <button class="primary" disabled={model === null || problem !== null || generation.running}>
            Generate
          </button>
          <button type="button" disabled={!generation.running} onClick={() => void stopGenerating()}>
            Stop
          </button>
        </div>
      </form>
      <section class="card output" aria-label="Generated text" aria-busy={generation.running}>
        <div class="head">
          <h2>{model === null ? 'No model yet' : model.name}</h2>
          <p class="detail">{detailOf(generation, phase === 'training')}</p>
        </div>
        {model === null ? (
          <p class="hint">
            <a href="#train">Train a model</a> or <a href="#models">open one</a>; then it continues what you write.
          </p>
        ) : (
          <Output {...generation} />
        )}
      </section>
    </div>
  );
}

function detailOf({ running, result }: Generation, isTraining: boolean): string {
  if (running) return 'Writing…';
  if (result === null) return isTraining ? 'in training; it can write meanwhile' : '';
  const { tokens, seconds } = result;
  return `${tokens} tokens in ${formatDuration(seconds)}, ${formatCount(tokens / Math.max(seconds, 1e-3))} tokens/s`;
}

function Output({ prompt, text, running }: Generation) {
  if (prompt === '' && text === '' && !running)
    return <p class="hint">Write the beginning of a text, and press Generate.</p>;
  return (
    <p class="text" data-testid="generated">
      <span class="prompt">{printable(prompt)}</span>
      <span>{printable(text)}</span>
      {running && <span class="caret" aria-hidden="true" />}
    </p>
  );
}
