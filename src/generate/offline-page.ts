/**
 * @file One HTML file with a model in it that generates with no network and no server: its parts put together. What runs in
 * it is `web/offline`, bundled into `dist/offline` by `npm run build:page`. It opens no model.
 */
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { formatBytes } from '../format.js';
import type { ModelFiles } from '../model/model-files.js';
import type { TokenizerFiles } from '../tokens/tokenizer.js';
import { escapeHtml } from '../train/html.js';
import type { SamplingOptions } from './sampling-options.js';

/** What the page knows of its model, besides the weights. */
export interface OfflineModel {
  /** The text of config.json. */
  readonly config: string;
  readonly tokenizer: TokenizerFiles;
  /** Bytes of model.safetensors, which follow in parts. */
  readonly bytes: number;
  readonly parameters: number;
  readonly stopTokens: readonly number[];
  /** What the knobs begin with, and options that have no knob. */
  readonly sampling: SamplingOptions;
  readonly maxTokens: number;
}

export interface OfflinePage {
  readonly title: string;
  /** A line about the model. */
  readonly about: string;
  /** What stands in the field of the prompt. */
  readonly prompt: string;
  readonly files: ModelFiles;
  readonly model: Omit<OfflineModel, 'config' | 'bytes'>;
}

/** Most bytes of weights: what was tried, in Chromium. */
export const MAX_OFFLINE_BYTES = 5e8;
/** Bytes of weights in one element; a multiple of 3, so that their base64 has no padding inside. */
const PART = 6 << 20;

const BUILT = new URL('../../dist/offline/', import.meta.url);

/**
 * The page, in pieces.
 * @throws RangeError for more weights than a page can hold; Error where the scripts were not built.
 */
export function* offlinePage({ title, about, prompt, files, model }: OfflinePage): Generator<Uint8Array> {
  const { 'config.json': config, 'model.safetensors': weights } = files;
  if (weights.length > MAX_OFFLINE_BYTES) {
    throw new RangeError(
      `export: the weights have ${formatBytes(weights.length)}, a page can hold ${formatBytes(MAX_OFFLINE_BYTES)}; ` +
        'pack them (--weights int8 or int4), or serve the model with `xlstm serve`',
    );
  }
  const data: OfflineModel = { config, bytes: weights.length, ...model };
  const fields: Readonly<Record<string, string>> = {
    title: escapeHtml(title),
    about: escapeHtml(about),
    prompt: escapeHtml(prompt),
    style: builtFile('style.css'),
    model: JSON.stringify(data).replaceAll('<', '\\u003c'),
    worker: inlineScript(builtFile('worker.js')),
    main: `<script>${inlineScript(builtFile('main.js'))}</script>`,
  };
  const filled = (template: string): Buffer =>
    Buffer.from(template.replace(/\{\{(\w+)\}\}/g, (field, name: string) => fields[name] ?? field));
  const [head = '', tail = ''] = builtFile('page.html').split('{{weights}}');
  yield filled(head);
  for (let at = 0; at < weights.length; at += PART) {
    const part = Buffer.from(weights.buffer, weights.byteOffset + at, Math.min(PART, weights.length - at));
    yield Buffer.from(`<script type="text/plain" data-weights>${part.toString('base64')}</script>\n`);
  }
  yield filled(tail);
}

/** JavaScript that may stand in a script element: nothing in it ends the element, and strings keep their values. */
const inlineScript = (code: string): string => code.replaceAll('</script', '<\\/script').replaceAll('<!--', '<\\!--');

/** @throws Error where it was not built. */
function builtFile(name: string): string {
  const file = fileURLToPath(new URL(name, BUILT));
  try {
    return fs.readFileSync(file, 'utf8');
  } catch (cause) {
    throw new Error(`export: ${file} is missing; in a clone, run: npm run build:page`, { cause });
  }
}
