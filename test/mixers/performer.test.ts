/** @file The features of the Performer are what they are for: with many of them it is softmax attention. */
import { expect, it } from 'vitest';
import { performerMixer } from '../../src/mixers/performer.js';
import { placeOf } from '../../src/model/block.js';
import { modelConfigSchema } from '../../src/model/config.js';
import { normal, randomKey } from '../../src/tensor/random.js';
import { scope } from '../../src/tensor/scope.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { relativeRms } from '../support/compare.js';
import { referenceDevice } from '../support/devices.js';

const [T, D, heads] = [7, 8, 2];
const DH = D / heads;
const x = normal(randomKey(1), T * D, 0, 0.5);

/** Causal softmax attention of x with itself as queries, keys and values. */
function softmaxAttention(): Float64Array {
  const y = new Float64Array(T * D);
  for (let head = 0; head < heads; head++) {
    for (let t = 0; t < T; t++) {
      const weights = Array.from({ length: t + 1 }, (_, s) => {
        let logit = 0;
        for (let d = 0; d < DH; d++) logit += x[t * D + head * DH + d]! * x[s * D + head * DH + d]!;
        return Math.exp(logit / Math.sqrt(DH));
      });
      const total = weights.reduce((sum, w) => sum + w, 0);
      weights.forEach((w, s) => {
        for (let d = 0; d < DH; d++) y[t * D + head * DH + d]! += (w / total) * x[s * D + head * DH + d]!;
      });
    }
  }
  return y;
}

/** The mixer with maps that change nothing. */
async function performed(features: number): Promise<Float64Array> {
  const device = referenceDevice();
  const place = placeOf(modelConfigSchema.parse({ dim: D, blocks: ['performer'] }), 0);
  const options = performerMixer.options.parse({ heads, features });
  const mixer = performerMixer.create(options, place);
  const identity = Float64Array.from({ length: D * D }, (_, at) => (at % (D + 1) === 0 ? 1 : 0));
  const y = scope(device, {}, () => {
    const p = Object.fromEntries(
      Object.entries(mixer.parameters).map(([name, { shape }]) => [name, Tensor.from(device, identity, shape)]),
    );
    const context = { state: null, wantState: false, reset: null, key: null };
    return mixer.forward(p, Tensor.from(device, x, [1, T, D]), context)[0];
  });
  return Float64Array.from(await y.data());
}

it('approximates softmax attention, the better the more features there are', async () => {
  const exact = softmaxAttention();
  const error = async (features: number) => relativeRms(await performed(features), exact);
  const [few, many] = [await error(16), await error(20_000)];
  expect(many).toBeLessThan(0.02); // seen: 0.011; the error falls as the root of their number
  expect(many).toBeLessThan(few / 5);
});
