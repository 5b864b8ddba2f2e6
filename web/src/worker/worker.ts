/** @file The worker: owns the device and the model, and hands each request to the handler of its kind. */
import { DeviceLostError, type Device } from 'xlstm';
import type { FromWorker, Kind, Request } from '../protocol.js';
import { Context, type Handlers } from './context.js';
import { openGpu } from './device.js';
import { generateHandlers } from './generate.js';
import { lostHandlers, recover, setDevice } from './lost.js';
import { memoryHandlers } from './memory.js';
import { findKept, modelHandlers, openKept } from './models.js';
import { searchHandlers } from './search.js';
import { Store } from './store.js';
import { trainHandlers } from './train.js';

const send = (message: FromWorker): void => self.postMessage(message);

const opening: Handlers<'open'> = {
  async open(_, context) {
    const opened = await openGpu();
    if ('fault' in opened) {
      await findKept(context);
      return opened;
    }
    setDevice(context, opened.device);
    const { description, isEmulated } = opened.device.info;
    await openKept(context);
    return { description, isSoftware: isEmulated === true };
  },
};

/** A further part of the page adds its handlers here. */
const handlers: Handlers<Kind> = {
  ...opening,
  ...lostHandlers,
  ...trainHandlers,
  ...generateHandlers,
  ...modelHandlers,
  ...memoryHandlers,
  ...searchHandlers,
};

const context = Store.open().then((store) => new Context((event) => send({ kind: 'event', event }), store));

async function answer({ kind, id, fields }: Request): Promise<void> {
  const it = await context;
  const device = it.hasDevice ? it.device : null;
  try {
    const handler = handlers[kind] as (fields: unknown, context: Context) => Promise<never>;
    send({ kind: 'answer', id, value: await handler(fields, it) });
  } catch (error) {
    send({ kind: 'failure', id, message: await sentenceOf(error, it, device) });
  }
}

/** What the page is told; a device that was lost is there again by then, where that is possible. */
async function sentenceOf(error: unknown, context: Context, device: Device | null): Promise<string> {
  if (!(error instanceof DeviceLostError) || device === null) {
    return error instanceof Error ? error.message : String(error);
  }
  try {
    await recover(context, device, error);
    return 'The GPU was lost in the middle of this, as when its driver is reset. It is open again: ask once more.';
  } catch (failure) {
    return (failure as Error).message;
  }
}

self.addEventListener('message', ({ data }: MessageEvent<Request>) => void answer(data));
