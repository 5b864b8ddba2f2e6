/** @file The language model against NX-AI/xlstm 2.0.5: logits, loss, step form, every gradient, 60 training losses. */
import { describe, expect, it } from 'vitest';
import { scope } from '../../src/tensor/scope.js';
import { backward } from '../../src/tensor/tape.js';
import { sum } from '../../src/ops/sum.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { relativeRms } from '../support/compare.js';
import { testDevices } from '../support/devices.js';
import { goldenLanguageModel, modelFromNxai, nxaiValues } from '../support/models.js';

const MODELS = ['xlstm_lm_mixed', 'xlstm_lm_mlstm_only', 'xlstm_lm_slstm_only', 'xlstm_lm_tied_bias'];

/** The parameters were rounded to float32 after the recording, hence 1e-6 and not 1e-12; seen on float32: 2e-6. */
const TOLERANCE = { float64: 1e-6, float32: 1e-5 };

const runs = MODELS.flatMap((model) => testDevices().map(({ name, create }) => [model, name, create] as const));

describe.each(runs)('%s on %s', (name, _, create) => {
  const { config, weights, expected } = goldenLanguageModel(name);
  const [B, length] = expected.tensors['tokens']!.shape as [number, number];
  const all = Int32Array.from(expected.tensors['tokens']!.data as BigInt64Array, Number);
  const T = length - 1;
  const rows = (shift: number) =>
    Int32Array.from({ length: B * T }, (_, k) => all[Math.floor(k / T) * length + (k % T) + shift]!);
  const golden = (tensor: string) => expected.tensors[tensor]!.data as Float32Array;

  const device = create();
  const tolerance = TOLERANCE[device.precision];

  it('logits, loss and gradients', async () => {
    using model = modelFromNxai(config, device, weights);
    model.parameters.zeroGradients();
    const [logits, loss] = scope(device, { record: true }, () => {
      const tokens = Tensor.from(device, rows(0), [B, T]);
      const targets = Tensor.from(device, rows(1), [B, T]);
      const { losses } = model.losses(tokens, targets);
      const mean = sum(losses, 1 / (B * T));
      backward(mean);
      return [model.logits(model.forward(tokens).hidden), mean];
    });
    expect(relativeRms(await logits.data(), golden('logits'))).toBeLessThan(tolerance);
    expect(relativeRms(await loss.data(), golden('loss'))).toBeLessThan(tolerance);
    for (const [parameter, tensor] of Object.entries(model.parameters.tensors)) {
      const gradient = await tensor.gradTensor().data();
      const error = relativeRms(gradient, nxaiValues(expected, 'grad.', parameter, model.config.blocks));
      expect(error, `gradient of ${parameter}`).toBeLessThan(tolerance);
    }
    logits.dispose();
    loss.dispose();
  });

  it('step form', async () => {
    using model = modelFromNxai(config, device, weights);
    const V = model.config.vocabSize;
    const steps = golden('logits_step');
    let state = model.initialState(B);
    for (let t = 0; t < T; t++) {
      const column = Int32Array.from({ length: B }, (_, b) => all[b * length + t]!);
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
