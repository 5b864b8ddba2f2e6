/** @file The page made by `xlstm export --html`: gives the model to its worker and shows the text. It computes nothing. */
import { formatNumber } from '../../src/format.js';
import type { OfflineModel } from '../../src/generate/offline-page.js';
import type { Knobs, Reply, Request } from './protocol.js';

const element = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;

const form = element<HTMLFormElement>('form');
const prompt = element<HTMLTextAreaElement>('prompt');
const go = element<HTMLButtonElement>('go');
const stop = element<HTMLButtonElement>('stop');
const status = element('status');
const warning = element('warning');
const output = element('text');
const fields = ['temperature', 'topK', 'topP', 'seed', 'maxTokens'] as const;

const model = JSON.parse(element('model').textContent) as OfflineModel;
// A module could not be started from a file; a classic script can.
const code = new Blob([element('worker').textContent], { type: 'text/javascript' });
const worker = new Worker(URL.createObjectURL(code));
const send = (request: Request): void => worker.postMessage(request, []);

worker.addEventListener('message', ({ data }: MessageEvent<Reply>) => show(data));
worker.addEventListener('error', ({ message }) => fail(`The model could not be started: ${message}`, true));

function show(reply: Reply): void {
  if (reply.kind === 'loading') {
    status.textContent = `Loading the model: ${Math.floor(100 * reply.share)} %`;
    if (reply.share < 1) sendNextPart();
  } else if (reply.kind === 'ready') {
    status.textContent = `Ready, on ${reply.device}.`;
    warning.textContent = reply.warning;
    go.disabled = false;
  } else if (reply.kind === 'text') output.append(reply.text);
  else if (reply.kind === 'done') {
    const rate = formatNumber(reply.tokens / reply.seconds, 3);
    status.textContent = `${reply.stopped ? 'Stopped. ' : ''}${reply.tokens} tokens, ${rate} per second.`;
    rest();
  } else fail(reply.message, reply.isFinal);
}

/** The weights leave the document as they go to the worker. */
function sendNextPart(): void {
  const part = document.querySelector('script[data-weights]');
  if (part === null) return fail('This file is cut off: weights are missing. Copy it again.', true);
  send({ kind: 'weights', base64: part.textContent });
  part.remove();
}

function fail(message: string, isFinal: boolean): void {
  status.textContent = '';
  warning.textContent = message;
  rest();
  go.disabled = isFinal;
}

function rest(): void {
  go.disabled = false;
  stop.disabled = true;
  output.setAttribute('aria-busy', 'false');
}

function knobs(): Knobs {
  return Object.fromEntries(
    fields.map((name) => [name, element<HTMLInputElement>(name).valueAsNumber]),
  ) as unknown as Knobs;
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  if (go.disabled) return;
  const given = document.createElement('b');
  given.textContent = prompt.value;
  output.replaceChildren(given);
  output.setAttribute('aria-busy', 'true');
  warning.textContent = '';
  status.textContent = 'Generating …';
  go.disabled = true;
  stop.disabled = false;
  send({ kind: 'generate', prompt: prompt.value, knobs: knobs() });
});
stop.addEventListener('click', () => send({ kind: 'stop' }));
prompt.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});

const { temperature = 1, topK = 0, topP = 1 } = model.sampling;
const initial: Knobs = { temperature, topK, topP, seed: 0, maxTokens: model.maxTokens };
for (const name of fields) element<HTMLInputElement>(name).value = String(initial[name]);
send({ kind: 'open', model });
