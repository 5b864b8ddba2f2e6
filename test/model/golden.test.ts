/**
 * @file Language models against the implementations that wrote their checkpoints, opened from their folders: NX-AI/xlstm
 * 2.0.5 (the paper's architecture and xLSTM Large) and transformers 5.17 (xLSTM Large, Llama, Mamba, Mamba-2, RWKV-4): logits, loss, step form, gradients, greedy text.
 */
import { describe, expect, it } from 'vitest';
import type { Device } from '../../src/device/device.js';
import { Session } from '../../src/generate/decode.js';
import { loadModel } from '../../src/model/checkpoint.js';
import type { LanguageModel } from '../../src/model/language-model.js';
import { scope } from '../../src/tensor/scope.js';
import { backward } from '../../src/tensor/tape.js';
import { sum } from '../../src/ops/sum.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { relativeRms } from '../support/compare.js';
import { testDevices } from '../support/devices.js';
import { goldenExpected, goldenFolder, parameterValues } from '../support/models.js';
import { readGolden, type Fixture } from '../support/safetensors.js';

const PAPER = ['xlstm_lm_mixed', 'xlstm_lm_mlstm_only', 'xlstm_lm_slstm_only', 'xlstm_lm_tied_bias'];
const LARGE = ['xlstm_large', 'hf_xlstm', 'hf_llama', 'hf_mamba', 'hf_mamba2', 'hf_rwkv'];

/** The parameters were rounded to float32 after the recording, hence 1e-6 and not 1e-12; seen on float32: 2e-6. */
const PAPER_TOLERANCE = { float64: 1e-6, float32: 1e-5 };
/** Recorded in float32. Logits: seen 1.5e-6 on both devices. */
const LARGE_TOLERANCE = 2e-5;
/**
 * Gradients of the recording in float32; seen on both devices alike: 1.2e-4 for a gate bias, whose gradient is a small
 * difference of large numbers behind a norm, and 1e-5 elsewhere. The reference device differs from it as much as cpu does.
 */
const LARGE_GRADIENT_TOLERANCE = 3e-4;

const runs = (names: readonly string[]) =>
  names.flatMap((model) => testDevices().map(({ name, create }) => [model, name, create] as const));

interface Recorded {
  readonly expected: Fixture;
  readonly B: number;
  readonly T: number;
  /** Tokens [B,T], from position `shift` on. */
  rows(shift: number): Int32Array;
  golden(tensor: string): Float32Array;
}

function recorded(name: string): Recorded {
  const expected = goldenExpected(name);
  const { data, shape } = expected.tensors['tokens']!;
  const [B, length] = shape as [number, number];
  const all = Int32Array.from(data as BigInt64Array, Number);
  const T = expected.tensors['logits']!.shape[1]!;
  const rows = (shift: number) =>
    Int32Array.from({ length: B * T }, (_, k) => all[Math.floor(k / T) * length + (k % T) + shift]!);
  return { expected, B, T, rows, golden: (tensor) => expected.tensors[tensor]!.data as Float32Array };
}

async function logitsOf(device: Device, model: LanguageModel, { B, T, rows }: Recorded) {
  const logits = scope(device, {}, () => {
    return model.logits(model.forward(Tensor.from(device, rows(0), [B, T])).hidden);
  });
  const data = await logits.data();
  logits.dispose();
  return data;
}

/** The mean loss; its gradients are in the model. */
async function lossWithGradients(device: Device, model: LanguageModel, { B, T, rows }: Recorded) {
  model.parameters.zeroGradients();
  const loss = scope(device, { record: true }, () => {
    const { losses } = model.losses(Tensor.from(device, rows(0), [B, T]), Tensor.from(device, rows(1), [B, T]));
    const mean = sum(losses, 1 / (B * T));
    backward(mean);
    return mean;
  });
  const data = await loss.data();
  loss.dispose();
  return data;
}

async function checkGradients(model: LanguageModel, expected: Fixture, tolerance: number) {
  const wanted = parameterValues(expected, 'grad.', model.config);
  expect([...wanted.keys()].sort()).toEqual(Object.keys(model.tensors).sort());
  for (const [parameter, values] of wanted) {
    const gradient = await model.tensors[parameter]!.gradTensor().data();
    expect(relativeRms(gradient, values), `gradient of ${parameter}`).toBeLessThan(tolerance);
  }
}

describe.each(runs(PAPER))('%s on %s', (name, _, create) => {
  const record = recorded(name);
  const { expected, B, T, rows, golden } = record;
  const device = create();
  const tolerance = PAPER_TOLERANCE[device.precision];
  const open = () => loadModel(goldenFolder(name), device).model;

  it('logits, loss and gradients', async () => {
    using model = open();
    expect(relativeRms(await logitsOf(device, model, record), golden('logits'))).toBeLessThan(tolerance);
    expect(relativeRms(await lossWithGradients(device, model, record), golden('loss'))).toBeLessThan(tolerance);
    await checkGradients(model, expected, tolerance);
  });

  it('step form', async () => {
    using model = open();
    const V = model.config.vocabSize;
    const steps = golden('logits_step');
    let state = model.initialState(B);
    for (let t = 0; t < T; t++) {
      const column = Int32Array.from({ length: B }, (_, b) => rows(0)[b * T + t]!);
      const next = scope(device, {}, () => model.step(Tensor.from(device, column, [B]), state));
      const wanted = Float64Array.from({ length: B * V }, (_, k) => steps[(Math.floor(k / V) * T + t) * V + (k % V)]!);
      expect(relativeRms(await next.logits.data(), wanted), `step ${t}`).toBeLessThan(tolerance);
      state.dispose();
      next.logits.dispose();
      state = next.state;
    }
    state.dispose();
  });
});

/**
 * The recorded greedy text, of hf_mamba2 that of a second recording: the first is not what its own library generates (see
 * the fixtures' README).
 */
function greedyOf(name: string, expected: Fixture): number[] {
  const numbers = ({ tensors }: Fixture) => Array.from(tensors['greedy']!.data as BigInt64Array, Number);
  if (name !== 'hf_mamba2') return numbers(expected);
  const again = numbers(readGolden('hf_mamba2/greedy'));
  // Should the two ever agree, the second one is to go.
  expect(again).not.toEqual(numbers(expected));
  return again;
}

describe.each(runs(LARGE))('%s on %s', (name, _, create) => {
  const record = recorded(name);
  const { expected, golden } = record;
  const device = create();

  it.each([{}, { storage: 'stored' }] as const)('logits, opened with %j', async (options) => {
    using model = loadModel(goldenFolder(name), device, options).model;
    expect(relativeRms(await logitsOf(device, model, record), golden('logits'))).toBeLessThan(LARGE_TOLERANCE);
  });

  it('greedy continuation, token for token', async () => {
    using model = loadModel(goldenFolder(name), device, { storage: 'stored' }).model;
    const prompt = Int32Array.from(expected.tensors['prompt']!.data as BigInt64Array, Number);
    const greedy = greedyOf(name, expected);
    // transformers records the prompt as well, NX-AI/xlstm what comes after it.
    const wanted = name.startsWith('hf_') ? greedy.slice(prompt.length) : greedy;
    using session = new Session(model);
    await session.read(prompt);
    const text: number[] = [];
    while (text.length < wanted.length) {
      const best = session.logits!.indexOf(Math.max(...session.logits!));
      text.push(best);
      await session.read(Int32Array.of(best));
    }
    expect(wanted.length).toBeGreaterThan(15);
    expect(text).toEqual(wanted);
  });

  it.runIf(expected.tensors['loss'] !== undefined)('loss and gradients', async () => {
    using model = loadModel(goldenFolder(name), device).model;
    expect(relativeRms(await lossWithGradients(device, model, record), golden('loss'))).toBeLessThan(LARGE_TOLERANCE);
    await checkGradients(model, expected, LARGE_GRADIENT_TOLERANCE);
  });
});
