/**
 * @file A sequence mixer of one's own: a leaky average of each channel whose rate depends on the input, behind a gate.
 *
 *   xlstm check examples/my-mixer.ts      whether its gradients, steps, causality and document borders are right
 *   xlstm compare compare.yaml            with `mixerFile: examples/my-mixer.ts` among the models
 */
import { activate, countParameters, defineMixer, gatedActivation, linear, selectiveScan, Tensor } from 'xlstm';
import type { Mixer, MixerContext, ParameterTable, ParameterTensors } from 'xlstm';
import * as z from 'zod';

export default defineMixer({
  name: 'leakyAverage',
  summary: 'a leaky average of each channel, h_t = exp(-rate_t) h_{t-1} + rate_t v_t, behind a SiLU gate',
  options: z.strictObject({
    rate: z
      .number()
      .positive()
      .default(0.1)
      .describe('Rate at the start of training: it remembers about 1/rate steps.'),
  }),
  feedForward: 'layer',

  create({ rate }, { dim: D, inputInit, outputInit }): Mixer {
    const matrix = (init: typeof inputInit) => ({ shape: [D, D], init, decay: true });
    const parameters: ParameterTable = {
      'value.weight': matrix(inputInit),
      'gate.weight': matrix(inputInit),
      'rate.weight': matrix({ kind: 'constant', value: 0 }),
      // softplus(bias) is the rate at the start.
      'rate.bias': { shape: [D], init: { kind: 'constant', value: Math.log(Math.expm1(rate)) }, decay: false },
      'out.weight': matrix(outputInit),
    };

    /** x [B,T,D] -> y [B,T,D] and the average after the last step [B,D,1]. */
    const forward = (
      p: ParameterTensors,
      x: Tensor,
      { state, reset }: Pick<MixerContext, 'state' | 'reset'>,
    ): [Tensor, { average: Tensor }] => {
      const [B, T] = x.shape as [number, number, number];
      const ones = Tensor.full(x.device, [B, T, 1], 1);
      const [h, average] = selectiveScan(
        {
          u: linear(x, p['value.weight']!),
          delta: activate(linear(x, p['rate.weight']!, p['rate.bias']), 'softplus'),
          A: Tensor.full(x.device, [D, 1], -1),
          B: ones,
          C: ones,
        },
        { state: state?.['average'] ?? null, reset },
      );
      const gated = gatedActivation(linear(x, p['gate.weight']!), h, 'silu');
      return [linear(gated, p['out.weight']!), { average }];
    };

    return {
      kind: 'leakyAverage',
      causal: true,
      parameters,
      stateSpecs: (B) => ({ average: { shape: [B, D, 1], batchAxis: 0, initial: 0 } }),
      forward,
      step(p, x, state) {
        const [B] = x.shape as [number, number];
        const [y, next] = forward(p, x.reshape([B, 1, D]), { state, reset: null });
        return [y.reshape([B, D]), next];
      },
      flopsPerToken: () => 2 * countParameters(parameters) + 6 * D,
    };
  },
});
