/** @file Training as the worker of the playground does it, on the reference device: stopped and gone on with, and its text. */
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { tokenize, readText } from '../../web/src/worker/data.js';
import { Training } from '../../web/src/worker/training.js';
import { Turns } from '../../web/src/worker/turns.js';
import type { StepRow, WorkerEvent } from '../../web/src/protocol.js';
import { referenceDevice } from '../support/devices.js';
import { losableDevice, type LosableDevice } from '../support/losable-device.js';

const text = { name: 'fox', text: 'the quick brown fox jumps over the lazy dog. '.repeat(20) };
const settings = {
  ...{ blocks: ['m', 's'] as const, dim: 32, contextLength: 16, batchSize: 1, learningRate: 0.01, steps: 4, seed: 1 },
  tokenizer: 'bytes',
} as const;
const never = new AbortController().signal;

/** Trains four steps as the page does. @param disturb  called behind each step, and when the next one has been begun */
async function run(disturb: (training: Training, moment: 'step' | 'between') => void) {
  const lost: number[] = [];
  /** What the page shows of it. */
  let shown: StepRow[] = [];
  const emit = (event: WorkerEvent): void => {
    if (event.kind === 'steps') shown.push(...event.rows);
  };
  const onLost = (): void => {
    lost.push(training.step);
    shown = [...training.rows];
  };
  const data = await tokenize(text, 'bytes');
  const openDevice = (): Promise<LosableDevice> => Promise.resolve(losableDevice());
  const training: Training = await Training.start(losableDevice(), { text, data, settings, openDevice, onLost });
  const onStep = async (): Promise<void> => {
    disturb(training, 'between');
    await training.model.device.read(training.model.parameters.values); // as one who keeps it
    setTimeout(() => disturb(training, 'step'));
  };
  await training.run({ steps: 4, signal: never, turns: new Turns(), emit, onStep });
  return { lost, rows: training.rows, shown };
}

describe('training', () => {
  it('that is stopped and goes on from what is kept comes to the same losses', async () => {
    const device = referenceDevice();
    const events: WorkerEvent[] = [];
    const options = { turns: new Turns(), emit: (event: WorkerEvent) => void events.push(event), steps: 4 };
    const data = await tokenize(text, 'bytes');
    const what = { text, data, settings, openDevice: () => Promise.reject(new Error('none')), onLost: () => {} };
    const whole = await Training.start(device, what);
    await whole.run({ ...options, signal: never, onStep: async () => {} });
    const told = events.flatMap((event) => (event.kind === 'steps' ? event.rows : []));
    expect(told).toEqual(whole.rows);
    expect(whole.rows.map(({ step }) => step)).toEqual([1, 2, 3, 4]);
    expect(whole.rows[3]!.heldOut).toBeLessThan(5);
    expect(events.filter(({ kind }) => kind === 'sample').length).toBeGreaterThan(0);

    const first = await Training.start(device, what);
    const stop = new AbortController();
    await first.run({ ...options, signal: stop.signal, onStep: async () => void (first.step === 2 && stop.abort()) });
    expect(first.step).toBe(2);
    const { model, step, rows } = first;
    const second = await Training.start(device, {
      ...what,
      from: { model, moments: await first.moments(), step, rows },
    });
    await second.run({ ...options, signal: never, onStep: async () => {} });
    // What is kept is float32, the device computes in float64: 2e-10 was seen.
    for (const [k, { loss }] of second.rows.entries()) expect(Math.abs(loss - whole.rows[k]!.loss)).toBeLessThan(1e-6);
  });

  it.each([
    ['a step', 'step', 2],
    ['what is done between two steps', 'between', 2],
    ['what is done after the last step', 'between', 4],
  ] as const)('goes on on a new device after a loss in %s, to the same losses', async (_, when, lostAt) => {
    const whole = await run(() => {});
    expect(whole.lost).toEqual([]);
    let isDone = false;
    const broken = await run((training, moment) => {
      if (isDone || moment !== when || training.step !== lostAt) return;
      isDone = true;
      (training.model.device as LosableDevice).lose();
    });
    expect(broken.lost).toEqual([0]); // the step of the only copy
    expect(broken.rows).toEqual(whole.rows);
    expect(broken.shown).toEqual(whole.rows);
  });

  it('keeps the order of turns, whatever fails', async () => {
    const turns = new Turns();
    const seen: number[] = [];
    const late = turns.take(() => new Promise<void>((resolve) => setTimeout(() => (seen.push(1), resolve()), 5)));
    const failed = turns.take(() => Promise.reject(new Error('no')));
    const after = turns.take(async () => void seen.push(2));
    await expect(failed).rejects.toThrow('no');
    await Promise.all([late, after]);
    expect(seen).toEqual([1, 2]);
  });
});

describe('a text', () => {
  it('is cut behind a word, and never in the middle of a character', async () => {
    const words = await tokenize({ name: 'words', text: 'abcde '.repeat(100) }, 'bytes');
    const tokenizer = words.tokenizer;
    const held = new Int32Array(words.heldOut!.tokens.length);
    words.heldOut!.tokens.copy(held, 0, 0, held.length);
    expect(tokenizer.decode(held, { skipSpecial: true })).toMatch(/^(abcde )+$/);
    const faces = await tokenize({ name: 'faces', text: '\u{1f600}'.repeat(33) }, 'chars');
    expect(faces.tokenizer.vocabSize).toBe(2);
    expect((await tokenize(text, 'bpe')).tokenizer.vocabSize).toBeGreaterThan(257);
  });

  it.each(['bytes', 'chars', 'bpe'] as const)('becomes tokens of %s without what only Node.js has', async (kind) => {
    vi.stubGlobal('Buffer', undefined);
    onTestFinished(() => void vi.unstubAllGlobals());
    const { tokenizer } = await tokenize(text, kind);
    expect(tokenizer.decode(tokenizer.encode('the quick brown fox'))).toBe('the quick brown fox');
  });

  it('that is none is refused in a sentence', async () => {
    await expect(readText(new File([Uint8Array.of(0x89, 0x50, 0xff)], 'a.png'))).rejects.toThrow(
      'a.png is no text file: it holds bytes that are no UTF-8.',
    );
    await expect(readText(new File(['\n '], 'a.txt'))).rejects.toThrow('a.txt is empty');
    expect((await readText(new File(['é'], 'b.txt'))).text).toBe('é');
  });
});
