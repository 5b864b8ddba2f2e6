/** @file Requests about models as files: open, save, forget; and the one that was kept when the page opens. */
import { checkTokenizer, openModelFiles, type ModelConfig } from 'xlstm';
import { kernelsOf } from '../../../src/model/kernels-of.js';
import type { NamedBlob } from '../protocol.js';
import type { Context, Handlers, Held } from './context.js';
import { hold } from './hold.js';
import { pickModel } from './pick.js';
import { openTokenizer } from './tokenizer.js';
import { trainedFiles } from './trained-files.js';
import { zipOf } from './zip.js';

/** The files of a model folder that are kept: its weights, in one file or several, and what belongs to them; no moments. */
const KEPT = /^(?!training\.).*\.safetensors(\.index\.json)?$|^(config|tokenizer|tokenizer_config)\.json$/;

export const modelHandlers: Handlers<'openModel' | 'saveModel' | 'forget'> = {
  async openModel({ files: picked }, context) {
    const { name, files } = await pickModel(picked);
    context.emit({ kind: 'progress', progress: { label: `Opening ${name}`, share: null } });
    try {
      const held = await read(context, name, files);
      await hold(context, held, null);
      context.store.session = null;
      context.emit({ kind: 'history', rows: [] });
      context.tellStatus('idle');
      await keepOpened(context, held, files);
    } finally {
      context.emit({ kind: 'progress', progress: null });
    }
    return null;
  },

  async saveModel({ zip }, context) {
    const { held, turns, store } = context;
    const saved = held ?? store.session;
    if (saved === null) throw new Error('There is no model to save yet.');
    const entries = await turns.take(() => trainedFiles(context));
    const files: NamedBlob[] = [...entries].map(([name, blob]) => ({ name, blob }));
    const name = folderName(saved.name, context.training?.step ?? context.store.session?.status?.step ?? 0);
    if (!zip) return { name, files };
    const inFolder = files.map(({ name: file, blob }) => ({ name: `${name}/${file}`, blob }));
    return { name, files: [{ name: `${name}.zip`, blob: await zipOf(inFolder) }] };
  },

  async forget(_, context) {
    await hold(context, null, null);
    await context.store.clear();
    context.emit({ kind: 'history', rows: [] });
    context.emit({ kind: 'kept', bytes: null, problem: null });
    context.tellStatus('idle');
    return null;
  },
};

/** The model that was kept when the page was last open, if there is one. */
export async function openKept(context: Context): Promise<void> {
  const { store, emit } = context;
  if (store.problem !== null) emit({ kind: 'kept', bytes: null, problem: store.problem });
  const files = await store.load();
  const { session } = store;
  if (files === null || session === null) return;
  try {
    context.held = await read(context, session.name, files);
  } catch (error) {
    store.session = null;
    emit({
      kind: 'kept',
      bytes: null,
      problem: `The model that was kept cannot be opened: ${(error as Error).message}`,
    });
    return;
  } finally {
    emit({ kind: 'progress', progress: null });
  }
  emit({ kind: 'history', rows: session.rows });
  emit({ kind: 'kept', bytes: bytesOf(files), problem: null });
  const { status } = session;
  context.tellStatus(status === null ? 'idle' : status.step >= status.settings.steps ? 'finished' : 'stopped');
}

/** Tells of the model that is kept, where no device opens for it: it can still be saved. */
export async function findKept({ store, emit }: Context): Promise<void> {
  const files = await store.load();
  if (files !== null) emit({ kind: 'kept', bytes: bytesOf(files), problem: null });
}

const bytesOf = (files: ReadonlyMap<string, Blob>): number =>
  [...files.values()].reduce((sum, { size }) => sum + size, 0);

/** @throws Error in a sentence when a file is missing or damaged, or the model is of a kind that a page cannot run. */
async function read(context: Context, name: string, files: ReadonlyMap<string, File>): Promise<Held> {
  const tokenizer = await openTokenizer(files);
  const onProgress = (share: number): void =>
    context.emit({ kind: 'progress', progress: { label: `Opening ${name}`, share } });
  const { model, facts } = await openModelFiles(files, context.device, { onProgress });
  try {
    checkKernels(context, model.config, name);
    checkTokenizer(tokenizer, model, facts, name);
  } catch (error) {
    model.dispose();
    throw error;
  }
  return { model, tokenizer, name, facts: facts.training };
}

/** @throws Error in a sentence when a model calls what the device does not have. */
function checkKernels({ device }: Context, config: ModelConfig, name: string): void {
  const missing = [...kernelsOf(config, { training: false })].find((kernel) => device.absent.has(kernel));
  if (missing === undefined) return;
  const blocks = [...new Set(config.blocks)].join(', ');
  throw new Error(
    `${name} has blocks of ${blocks}, for which a page has no GPU kernels (${missing}): run it with the command, as xlstm generate does.`,
  );
}

/** Keeps a model that was opened as it is. */
async function keepOpened(
  { store, emit }: Context,
  { name, facts }: Held,
  files: ReadonlyMap<string, Blob>,
): Promise<void> {
  if (store.problem !== null) return;
  const needed = new Map([...files].filter(([file]) => KEPT.test(file)));
  try {
    emit({
      kind: 'kept',
      bytes: await store.save({ textId: null, name, facts, status: null, rows: [] }, needed),
      problem: null,
    });
  } catch (error) {
    emit({ kind: 'kept', bytes: null, problem: (error as Error).message });
  }
}

/** "xlstm-state-of-the-union-200-steps": clear, and possible in every file system. */
function folderName(name: string, steps: number): string {
  const words = name
    .replace(/\.\w+$/, '')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, '-')
    .replace(/^-|-$/g, '');
  const slug = words === '' ? 'model' : words.slice(0, 60);
  return `${slug.startsWith('xlstm') ? '' : 'xlstm-'}${slug}${steps > 0 ? `-${steps}-steps` : ''}`;
}
