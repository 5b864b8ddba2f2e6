/** @file Training that goes on after its device was lost, with the same losses; and snapshots as files. */
import { describe, expect, it } from 'vitest';
import { createBatches } from '../../src/data/batches.js';
import { textPart } from '../../src/data/text-part.js';
import type { Device } from '../../src/device/device.js';
import { DeviceLostError } from '../../src/device/device-lost.js';
import { createWebGpuDevice } from '../../src/device/webgpu/webgpu.js';
import { modelFingerprint } from '../../src/model/fingerprint.js';
import { LanguageModel } from '../../src/model/language-model.js';
import { randomKey } from '../../src/tensor/random.js';
import { ByteTokenizer } from '../../src/tokens/bytes.js';
import { snapshotBytes, snapshotFromBytes } from '../../src/train/snapshot.js';
import { SteadyTrainer, TrainingLostError, type StepPlan } from '../../src/train/steady-trainer.js';
import type { TrainerOptions } from '../../src/train/trainer.js';
import { referenceDevice } from '../support/devices.js';
import { losableDevice, type LosableDevice } from '../support/losable-device.js';
import { webGpuOrReason } from '../support/webgpu.js';

const tokenizer = new ByteTokenizer();
const batches = createBatches(textPart(['the quick brown fox jumps over the lazy dog. '.repeat(40)], tokenizer), {
  B: 2,
  T: 16,
});
const config = {
  ...{ vocabSize: tokenizer.vocabSize, dim: 16, blocks: ['mlstm', 'slstm'], dropout: 0.1 },
  ...{ mlstm: { heads: 2 }, slstm: { heads: 2 } },
};
const trainer: TrainerOptions = {
  optimizer: { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, decay: 'matrices' },
  ...{ gradientClip: 1, checkpointBlocks: false, stateful: true, key: randomKey(1) },
};
const plan: StepPlan = { batches: (step) => [batches.batchAt(step)], learningRate: (step) => 5e-3 / (1 + 0.1 * step) };
const STEPS = 10;

interface Training {
  /** The last loss of each step, and each step as it was made. */
  readonly losses: readonly number[];
  readonly made: readonly number[];
  readonly lost: readonly { readonly reason: string; readonly step: number }[];
  readonly fingerprint: string;
}

/**
 * Trains on devices that `open` gives, one after the other.
 * @param disturb  called when a step has been begun, with the device that it runs on and its number
 */
async function trained(
  open: () => Promise<Device>,
  disturb: (device: Device, step: number) => void,
  blocks = config.blocks,
): Promise<Training> {
  const model = LanguageModel.create({ ...config, blocks }, await open(), 1);
  const lost: Training['lost'][number][] = [];
  const onLost = ({ reason }: DeviceLostError, step: number): void => void lost.push({ reason, step });
  const steady = await SteadyTrainer.start(model, { trainer, openDevice: open, snapshotEvery: 4, onLost });
  const [losses, made]: [number[], number[]] = [[], []];
  while (steady.nextStep < STEPS) {
    const running = steady.step(plan);
    disturb(steady.model.device, steady.nextStep);
    const { step, loss } = await running;
    losses[step] = loss;
    made.push(step);
  }
  const fingerprint = await modelFingerprint(steady.model);
  steady.dispose();
  return { losses, made, lost, fingerprint };
}

const undisturbed = await trained(
  () => Promise.resolve(losableDevice()),
  () => {},
);

describe('after the loss of a device', () => {
  it.each([
    ['the first step', 0, 0],
    ['a step before the first snapshot', 2, 0],
    ['the step in which a snapshot is still on its way', 4, 0],
    ['a step behind it', 6, 4],
  ])('in %s it goes on with the same losses', async (_, at, from) => {
    let done = false;
    const { losses, made, lost, fingerprint } = await trained(
      () => Promise.resolve(losableDevice()),
      (device, step) => {
        if (step !== at || done) return;
        done = true;
        (device as LosableDevice).lose();
      },
    );
    expect(lost).toEqual([{ reason: 'unknown', step: from }]);
    expect(made.length).toBe(STEPS + at - from);
    expect(losses).toEqual(undisturbed.losses);
    expect(fingerprint).toBe(undisturbed.fingerprint);
  });

  it('gives up where every device is lost, or none opens, and the snapshot is still there', async () => {
    const always = async (): Promise<Device> => {
      const device = losableDevice();
      setTimeout(() => device.lose(), 0);
      return device;
    };
    const start = async (openDevice: () => Promise<Device>) => {
      const device = losableDevice();
      const steady = await SteadyTrainer.start(LanguageModel.create(config, device, 1), { trainer, openDevice });
      device.lose();
      return steady;
    };
    const again = await start(always);
    await expect(again.step(plan)).rejects.toThrow(TrainingLostError);
    const none = await start(() => Promise.reject(new Error('webgpu: no GPU was found')));
    await expect(none.step(plan)).rejects.toThrow(
      'fake: the device was lost. No new one can be opened: webgpu: no GPU was found',
    );
    expect(none.snapshot.step).toBe(0);
    // What was kept can be trained on elsewhere.
    const elsewhere = await SteadyTrainer.start(
      new LanguageModel(config, referenceDevice()),
      { trainer, openDevice: always },
      none.snapshot,
    );
    expect((await elsewhere.step(plan)).loss).toBe(undisturbed.losses[0]);
  });

  it('gives up where a step loses its device each time, though the steps before it are made again', async () => {
    const devices: LosableDevice[] = [];
    const openDevice = (): Promise<LosableDevice> => {
      devices.push(losableDevice());
      return Promise.resolve(devices.at(-1)!);
    };
    const model = LanguageModel.create(config, await openDevice(), 1);
    const steady = await SteadyTrainer.start(model, { trainer, openDevice, snapshotEvery: 4 });
    let isCured = false;
    const made: number[] = [];
    const next = async (): Promise<void> => {
      const running = steady.step(plan);
      if (steady.nextStep === 6 && !isCured) devices.at(-1)!.lose();
      made.push((await running).step);
    };
    const error = await (async () => {
      for (;;) await next();
    })().catch((thrown: unknown) => thrown as TrainingLostError);
    expect(error).toBeInstanceOf(TrainingLostError);
    expect(error.message).toBe(
      'training: the device was lost 3 times at step 6, the last time with "fake: the device was lost". The snapshot of step 4 ' +
        'is still there: save it, and go on with smaller batches or sequences, a smaller model, or on another device.',
    );
    expect([error.step, devices.length]).toEqual([6, 3]);
    expect(made).toEqual([0, 1, 2, 3, 4, 5, 4, 5, 4, 5]);
    expect([steady.snapshot.step, steady.nextStep]).toEqual([4, 4]);
    const saved = snapshotFromBytes(await snapshotBytes(steady.snapshot));
    expect(saved.step).toBe(4);
    // Whoever tries again goes on where it stands.
    isCured = true;
    for (const step of [4, 5, 6])
      expect(await steady.step(plan)).toMatchObject({ step, loss: undisturbed.losses[step] });
  });

  it('counts losses at new steps anew', async () => {
    const { losses, lost } = await trained(
      () => Promise.resolve(losableDevice()),
      (() => {
        const lostAt = new Set([1, 3, 5, 7, 9]);
        return (device: Device, step: number) => void (lostAt.delete(step) && (device as LosableDevice).lose());
      })(),
    );
    expect(lost.length).toBe(5);
    expect(losses).toEqual(undisturbed.losses);
  });

  it('what is wrong with a step is thrown as ever', async () => {
    const model = LanguageModel.create(config, referenceDevice(), 1);
    const steady = await SteadyTrainer.start(model, { trainer, openDevice: async () => referenceDevice() });
    await expect(steady.step({ ...plan, batches: () => [] })).rejects.toThrow('no batch has a target');
  });
});

describe('a snapshot', () => {
  it('goes to a file and back, and training goes on from it with the same losses', async () => {
    const model = LanguageModel.create(config, referenceDevice(), 1);
    const steady = await SteadyTrainer.start(model, { trainer, openDevice: async () => referenceDevice() });
    for (let step = 0; step < 3; step++) await steady.step(plan);
    const taken = await steady.refresh();
    expect(taken.step).toBe(3);
    const back = snapshotFromBytes(await snapshotBytes(taken));
    expect(back).toEqual(taken);
    const other = await SteadyTrainer.start(
      new LanguageModel(config, referenceDevice()),
      { trainer, openDevice: async () => referenceDevice() },
      back,
    );
    for (let step = 3; step < STEPS; step++) expect((await other.step(plan)).loss).toBe(undisturbed.losses[step]);
    expect(() => snapshotFromBytes(new Uint8Array(3))).toThrow('snapshot: a safetensors file begins with 8 bytes');
  });
});

const opened = await webGpuOrReason();
const reason = typeof opened === 'string' ? ` (skipped: ${opened})` : '';
if (typeof opened !== 'string') opened.destroy();

describe.skipIf(reason !== '')(`on the webgpu device${reason}`, () => {
  it('a GPU that is destroyed in the middle of a step is reported, and the losses are the same', async () => {
    // Of one kind, for a new device compiles everything again, slowly in software.
    const blocks = ['slstm'];
    const whole = await trained(
      () => createWebGpuDevice(),
      () => {},
      blocks,
    );
    const destroyedAt = new Set([6]);
    const broken = await trained(
      () => createWebGpuDevice(),
      (device, step) => {
        if (destroyedAt.delete(step)) (device as unknown as { gpuDevice: GPUDevice }).gpuDevice.destroy();
      },
      blocks,
    );
    expect(broken.lost).toEqual([{ reason: 'destroyed', step: 4 }]);
    expect(broken.losses).toEqual(whole.losses);
    expect(broken.fingerprint).toBe(whole.fingerprint);
  }, 300_000);

  it('reads that wait when it is lost are rejected with the reason, all of them', async () => {
    const device = await createWebGpuDevice();
    const x = device.alloc('float', 1000);
    device.kernels.fill(x, 1, 1000);
    const reads = [device.read(x), device.read(x), device.read(x)];
    (device.gpuDevice as GPUDevice).destroy();
    for (const { status, reason } of (await Promise.allSettled(reads)) as PromiseRejectedResult[]) {
      expect(status).toBe('rejected');
      expect(reason).toBeInstanceOf(DeviceLostError);
      expect((reason as DeviceLostError).reason).toBe('destroyed');
      expect((reason as DeviceLostError).message).toMatch(
        /^webgpu: the device was lost \(.+\); what was on it is gone/,
      );
    }
  });
});
