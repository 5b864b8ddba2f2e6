/** @file The worker of a page made by `xlstm export --html`: holds the model and generates. It draws nothing. */
import './no-eval.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import type { Device } from '../../src/device/device.js';
import { WebGpuError } from '../../src/device/webgpu/adapter.js';
import { createWebGpuDevice } from '../../src/device/webgpu/webgpu.js';
import { generateText } from '../../src/generate/generate-text.js';
import type { OfflineModel } from '../../src/generate/offline-page.js';
import type { LanguageModel } from '../../src/model/language-model.js';
import { modelFromFiles } from '../../src/model/model-files.js';
import { tokenizerFromJson } from '../../src/tokens/any-kind.js';
import type { Tokenizer } from '../../src/tokens/tokenizer.js';
import { parseObject, parseTokenizerJson } from '../../src/tokens/tokenizer-json.js';
import type { Reply, Request } from './protocol.js';

/** Parameters of a model that may run without a GPU: some tokens a second. */
const MOST_WITHOUT_GPU = 5e6;

const worker = globalThis as unknown as {
  addEventListener(kind: 'message', listener: (event: { data: Request }) => void): void;
  postMessage(reply: Reply, transfer: readonly Transferable[]): void;
};
const reply = (message: Reply): void => worker.postMessage(message, []);

/** Weights that are not complete yet. */
let loading: { readonly model: OfflineModel; readonly bytes: Uint8Array<ArrayBuffer>; filled: number } | null = null;
let open: { readonly facts: OfflineModel; readonly model: LanguageModel; readonly tokenizer: Tokenizer } | null = null;
let stopping = new AbortController();

worker.addEventListener('message', ({ data }) => {
  void handle(data).catch((error: unknown) => {
    reply({ kind: 'failed', message: (error as Error).message, isFinal: open === null });
  });
});

async function handle(request: Request): Promise<void> {
  if (request.kind === 'open') {
    loading = { model: request.model, bytes: new Uint8Array(request.model.bytes), filled: 0 };
    reply({ kind: 'loading', share: 0 });
  } else if (request.kind === 'weights') await addWeights(request.base64);
  else if (request.kind === 'generate') await generate(request);
  else stopping.abort();
}

async function addWeights(base64: string): Promise<void> {
  if (loading === null) return;
  const part = fromBase64(base64);
  loading.bytes.set(part, loading.filled);
  loading.filled += part.length;
  reply({ kind: 'loading', share: loading.filled / loading.bytes.length });
  if (loading.filled < loading.bytes.length) return;
  const { model: facts, bytes } = loading;
  loading = null;
  const { device, name, warning } = await openDevice(facts);
  const { model } = modelFromFiles({ 'config.json': facts.config, 'model.safetensors': bytes }, device, {
    storage: 'stored',
  });
  open = { facts, model, tokenizer: tokenizerOf(facts) };
  reply({ kind: 'ready', device: name, warning });
}

function fromBase64(text: string): Uint8Array {
  const { fromBase64: native } = Uint8Array as unknown as { fromBase64?: (text: string) => Uint8Array };
  return native === undefined
    ? Uint8Array.from(atob(text), (char) => char.charCodeAt(0))
    : native.call(Uint8Array, text);
}

/** The GPU; without one the slow device for a small model. @throws WebGpuError for a larger one, saying what to do. */
async function openDevice({ parameters }: OfflineModel): Promise<{ device: Device; name: string; warning: string }> {
  try {
    const device = await createWebGpuDevice();
    return { device, name: device.info.description, warning: '' };
  } catch (error) {
    if (!(error instanceof WebGpuError) || parameters > MOST_WITHOUT_GPU) throw error;
    const warning = `Slow, because it runs without a GPU. ${error.message}`;
    return { device: createReferenceDevice(), name: 'the processor', warning };
  }
}

function tokenizerOf({ tokenizer }: OfflineModel): Tokenizer {
  const [file, configFile] = ['tokenizer.json', 'tokenizer_config.json'] as const;
  const json = parseTokenizerJson(tokenizer[file], file);
  return tokenizerFromJson(json, parseObject(tokenizer[configFile], configFile), file);
}

async function generate({ prompt, knobs }: Extract<Request, { kind: 'generate' }>): Promise<void> {
  if (open === null) return;
  const { facts, model, tokenizer } = open;
  stopping = new AbortController();
  const { signal } = stopping;
  const started = performance.now();
  let tokens = 0;
  const onToken = (): void => void tokens++;
  const options = { ...facts.sampling, ...knobs, stopTokens: facts.stopTokens, signal, onToken };
  for await (const text of generateText(model, tokenizer, prompt, options)) reply({ kind: 'text', text });
  reply({ kind: 'done', tokens, seconds: (performance.now() - started) / 1000, stopped: signal.aborted });
}
