/**
 * @file The model's thread: it alone runs kernels, tokenises and keeps states, so that the HTTP thread never waits for them.
 * Started by `model-host.ts`, with which it speaks the messages of `protocol.ts`.
 */
import path from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { Engine } from '../generate/engine.js';
import { TextModel } from '../generate/text-model.js';
import { tokensAtOnce } from '../generate/tokens-at-once.js';
import { saveState } from '../model/state-file.js';
import { readChatTemplate } from './chat-template.js';
import { complete, keepPromptState, type Workplace } from './completion.js';
import { ApiError } from './errors.js';
import { KeptStates } from './kept-states.js';
import type { Command, FromModel, JobEvent, ModelOptions, ModelStats, ToModel } from './protocol.js';
import { StateCache } from './state-cache.js';

const port = parentPort!;
const options = workerData as ModelOptions;
const say = (message: FromModel): void => port.postMessage(message);

/** Events of one tick travel in one message. */
const outbox: { id: number; event: JobEvent }[] = [];
function tell(id: number, event: JobEvent): void {
  outbox.push({ id, event });
  if (outbox.length === 1) setImmediate(() => say({ kind: 'events', events: outbox.splice(0) }));
}

async function openPlace(): Promise<Workplace> {
  const text = await TextModel.load(options.folder, options.load);
  const { model } = text;
  return {
    text,
    template: readChatTemplate(text.folder),
    engine: new Engine(model, {
      maxBatch: options.maxBatch,
      prefillChunk: options.prefillChunk ?? tokensAtOnce(model.device, 128),
    }),
    cache: new StateCache(model, { memory: options.stateMemory, disk: options.stateDisk }),
    kept: new KeptStates(options.maxKeptStates),
    options,
    reused: 0,
  };
}

const running = new Map<number, AbortController>();

async function run(place: Workplace, id: number, command: Command): Promise<void> {
  switch (command.kind) {
    case 'run': {
      const controller = new AbortController();
      running.set(id, controller);
      try {
        await complete(place, command.job, controller.signal, (event) => tell(id, event));
      } catch (error) {
        const { status, param } = error instanceof ApiError ? error : { status: 500, param: null };
        tell(id, {
          kind: 'failed',
          status: error instanceof RangeError ? 400 : status,
          message: messageOf(error),
          param,
        });
      } finally {
        running.delete(id);
      }
      return;
    }
    case 'keepState':
      return answer(id, await keepPromptState(place, command.prompt, command.from));
    case 'listStates':
      return answer(id, place.kept.list());
    case 'getState':
      return answer(id, place.kept.get(command.id).info);
    case 'deleteState':
      return answer(id, place.kept.delete(command.id));
    case 'exportState':
      return answer(id, await exportState(place, command.id));
  }
}

const answer = (id: number, value: unknown): void => say({ kind: 'answer', id, value });
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

let exported = 0;
async function exportState({ kept, cache }: Workplace, id: string): Promise<string> {
  const { saved } = kept.get(id);
  const file = path.join(cache.folder, `export-${exported++}.state`);
  await saveState(file, saved.state, { model: await cache.fingerprint(), tokens: saved.tokens, logits: saved.logits });
  return file;
}

function statsOf({ engine, cache, kept, reused }: Workplace): ModelStats {
  return {
    ...engine.stats,
    reused,
    cacheHits: cache.hits,
    cacheMisses: cache.misses,
    cacheStates: cache.size,
    cacheBytes: cache.memoryBytes,
    cacheDiskBytes: cache.diskBytes,
    keptStates: kept.size,
  };
}

async function close(place: Workplace): Promise<void> {
  for (const controller of running.values()) controller.abort();
  await place.engine.close();
  place.kept.dispose();
  place.cache.dispose();
  place.text.dispose();
  say({ kind: 'closed' });
  port.close();
}

try {
  const place = await openPlace();
  port.on('message', (message: ToModel) => {
    if (message.kind === 'cancel') running.get(message.id)?.abort();
    else if (message.kind === 'stats') answer(message.id, statsOf(place));
    else if (message.kind === 'close') void close(place);
    else {
      run(place, message.id, message.command).catch((error: unknown) => {
        const status = error instanceof ApiError ? error.status : 500;
        say({ kind: 'refused', id: message.id, status, message: messageOf(error) });
      });
    }
  });
  const { model } = place.text;
  say({
    kind: 'ready',
    model: {
      name: options.name,
      parameters: model.parameterCount,
      vocabSize: model.config.vocabSize,
      device: model.device.info.description,
      hasChatTemplate: place.template !== null,
    },
  });
  // If the HTTP thread dies without a word, the private folder must not stay.
  process.on('exit', () => place.cache.removeFiles());
} catch (error) {
  say({ kind: 'broken', message: messageOf(error) });
}
