/**
 * @file The worker of the playground where the GPU is lost and the browser gives no other one, with devices that are not real:
 * the model is kept and can be saved, and training goes on once there is a GPU again.
 */
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { DeviceLostError } from '../../src/device/device-lost.js';
import { modelFromFiles } from '../../src/model/model-files.js';
import { modelFingerprint } from '../../src/model/fingerprint.js';
import { Context } from '../../web/src/worker/context.js';
import { lostHandlers, setDevice } from '../../web/src/worker/lost.js';
import { modelHandlers } from '../../web/src/worker/models.js';
import type { Session, Store } from '../../web/src/worker/store.js';
import { trainHandlers } from '../../web/src/worker/train.js';
import type { WorkerEvent } from '../../web/src/protocol.js';
import { referenceDevice } from '../support/devices.js';
import { losableDevice, type LosableDevice } from '../support/losable-device.js';

/** What `requestAdapter` would find. */
const gpu = vi.hoisted(() => ({ open: (): Promise<unknown> => Promise.reject(new Error('no adapter')) }));
vi.mock('xlstm', async (original) => ({
  ...(await original<Record<string, unknown>>()),
  openDevice: (choice?: string) => (choice === 'reference' ? Promise.resolve(referenceDevice()) : gpu.open()),
}));

const STEPS = 6;
const settings = {
  ...{ blocks: ['s'] as const, dim: 16, contextLength: 8, batchSize: 1, learningRate: 0.01, steps: STEPS, seed: 1 },
  tokenizer: 'bytes',
} as const;
const text = new File(['the quick brown fox jumps over the lazy dog. '.repeat(20)], 'fox.txt');
const request = { text, settings };

/** A store in memory. */
class FakeStore {
  readonly problem = null;
  session: Session | null = null;
  files: ReadonlyMap<string, Blob> | null = null;
  load = async () => this.files;
  saveText = async () => 'id';
  save = async (session: Session, files: ReadonlyMap<string, Blob>) => {
    [this.session, this.files] = [session, files];
    return 1;
  };
}

let events: WorkerEvent[];
let store: FakeStore;
let context: Context;

beforeEach(() => {
  events = [];
  store = new FakeStore();
  context = new Context((event) => void events.push(event), store as unknown as Store);
  setDevice(context, losableDevice());
});

/** Loses the device of now. */
const lose = (): void => (context.device as LosableDevice).lose();

/** When a step of training is told. */
const atStep = (step: number, act: () => void): void => {
  const wait = setInterval(() => {
    if ((context.training?.step ?? 0) < step) return;
    clearInterval(wait);
    act();
  }, 0);
};

const problems = (): (string | null)[] => events.flatMap((event) => (event.kind === 'gpu' ? [event.problem] : []));

/** The model of the archive-less download, opened. */
async function saved() {
  const { name, files } = await modelHandlers.saveModel({ zip: false }, context);
  const contents = Object.fromEntries(
    await Promise.all(
      files.map(async ({ name: file, blob }) =>
        file.endsWith('.safetensors') ? [file, new Uint8Array(await blob.arrayBuffer())] : [file, await blob.text()],
      ),
    ),
  ) as never;
  const { model } = modelFromFiles(contents, referenceDevice());
  return { name, model, names: files.map(({ name: file }) => file) };
}

describe('without a GPU after a loss', () => {
  it('training stops with a sentence; the model is kept, saved, and gone on with', async () => {
    gpu.open = () => Promise.reject(new Error('no adapter'));
    atStep(3, lose);
    await expect(trainHandlers.train(request, context)).rejects.toThrow(
      'The GPU was lost again, and the browser gives this page no other one.',
    );
    expect(context.phase).toBe('stopped');
    expect(problems()).toEqual(['The GPU was lost again, and the browser gives this page no other one.']);
    // There is a copy from before the first step alone.
    const last = events.findLast((event) => event.kind === 'history');
    expect(last).toEqual({ kind: 'history', rows: [] });
    expect(store.session?.status?.step).toBe(0);
    expect([...store.files!.keys()].sort()).toEqual(
      ['config.json', 'model.safetensors', 'moments.safetensors', 'tokenizer.json', 'tokenizer_config.json'].sort(),
    );
    const { name, model, names } = await saved();
    expect(name).toBe('xlstm-fox');
    expect(names).not.toContain('moments.safetensors');

    gpu.open = () => Promise.resolve(losableDevice());
    await lostHandlers.reopen({}, context);
    expect(problems().at(-1)).toBe(null);
    expect(await modelFingerprint(context.model!)).toBe(await modelFingerprint(model));
    await trainHandlers.resume({ steps: STEPS }, context);
    expect(context.phase).toBe('finished');
    expect(store.session!.rows.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('a model that is not being trained is saved as training left it', async () => {
    gpu.open = () => Promise.resolve(losableDevice());
    await trainHandlers.train(request, context);
    const before = await modelFingerprint((await saved()).model);
    gpu.open = () => Promise.reject(new Error('no adapter'));
    lose();
    context.isWithoutGpu = true; // so that it is tried at once
    await expect(lostHandlers.reopen({}, context)).rejects.toThrow('the browser gives this page no other one');
    expect(context.training!.step).toBe(STEPS);
    const after = await saved();
    expect([after.name, await modelFingerprint(after.model)]).toEqual(['xlstm-fox-6-steps', before]);
  });

  it('a model that came back from what is kept is saved from there', async () => {
    gpu.open = () => Promise.resolve(losableDevice());
    await trainHandlers.train(request, context);
    const before = await saved();
    context.training = null; // as behind a reload
    context.isWithoutGpu = true;
    lose();
    const after = await saved();
    expect(after.names).toEqual(before.names);
    expect(await modelFingerprint(after.model)).toBe(await modelFingerprint(before.model));
    store.files = null;
    await expect(saved()).rejects.toThrow('The GPU was lost, and with it the model, of which nothing was kept');
  });
});

it('a step that loses its GPU each time ends training with the number of the step', async () => {
  gpu.open = () => Promise.resolve(losableDevice());
  const lost = (): void => {
    if (context.phase === 'training') lose();
  };
  const open = gpu.open;
  atStep(2, () => {
    gpu.open = async () => {
      const device = (await open()) as LosableDevice;
      setTimeout(() => device.lose(), 0);
      return device;
    };
    lost();
  });
  const failure = await trainHandlers.train(request, context).then(
    () => null,
    (error: Error) => error,
  );
  expect(failure?.message).toMatch(
    /^The GPU was lost again and again at step \d, so training ended\. The model is as it was/,
  );
  expect(failure?.cause).toHaveProperty('name', 'TrainingLostError');
  expect(failure?.cause).not.toBeInstanceOf(DeviceLostError);
});
