/** @file jax-js in the bench of WebGPU: all that repeats is compiled by `jit`. */
import * as jax from '@jax-js/jax';
import { LOSSES } from '../contender.js';

const { jit, nn, numpy: np, valueAndGrad } = jax;
const array = (data, shape) => np.array(data, { shape, dtype: np.float32 });

// Every use of an array but the last takes a reference; a function owns what it is given.
const crossEntropy = (logits, classes, V, N) =>
  nn
    .logSoftmax(logits, -1)
    .mul(nn.oneHot(classes, V))
    .sum()
    .mul(-1 / N);

function matmul({ M, N, K, a, b }) {
  const [first, second] = [array(a, [M, K]), array(b, [K, N])];
  const product = jit((x, y) => np.matmul(x, y));
  return {
    // All are kept until they are done: of one that is disposed before it was submitted nothing is computed.
    async calls(count) {
      const products = Array.from({ length: count }, () => product(first.ref, second.ref));
      await jax.blockUntilReady(products);
      for (const one of products) one.dispose();
    },
    outputs: () => product(first.ref, second.ref).data(),
    dispose: () => [first, second].forEach((one) => one.dispose()),
  };
}

/** Gradient descent; `lossOf` takes the weights, then the inputs. */
function training(initial, inputs, learningRate, lossOf) {
  let weights = initial;
  const argnums = initial.map((_, k) => k);
  const update = jit((...all) => {
    const own = all.slice(0, argnums.length);
    const [loss, gradients] = valueAndGrad(lossOf, { argnums })(
      ...own.map((one) => one.ref),
      ...all.slice(argnums.length),
    );
    return [loss, ...own.map((weight, k) => weight.sub(gradients[k].mul(learningRate)))];
  });
  const step = async () => {
    const [loss, ...updated] = update(...weights, ...inputs.map((one) => one.ref));
    weights = updated;
    const [value] = await loss.data();
    await jax.blockUntilReady(weights.map((weight) => weight.ref));
    return value;
  };
  return {
    async calls(count) {
      for (let call = 0; call < count; call++) await step();
    },
    async outputs() {
      const losses = [];
      while (losses.length < LOSSES) losses.push(await step());
      return losses;
    },
    dispose: () => [...weights, ...inputs].forEach((one) => one.dispose()),
  };
}

function mlp({ N, D, H, V, x, w1, w2, targets, learningRate }) {
  const classes = np.array(targets, { shape: [N], dtype: np.int32 });
  return training(
    [array(w1, [H, D]), array(w2, [V, H])],
    [array(x, [N, D]), classes],
    learningRate,
    (first, second, input, classes) => {
      const hidden = nn.relu(np.matmul(input, first.transpose()));
      return crossEntropy(np.matmul(hidden, second.transpose()), classes, V, N);
    },
  );
}

/** Time comes first, so that a step is one stretch of memory; the product with the input is one for all steps. */
function lstm({ B, T, D, H, V, x, input, recurrent, bias, output, targets, learningRate }) {
  const classes = np.array(targets, { shape: [B, T], dtype: np.int32 }).transpose();
  const lossOf = (input, recurrent, bias, output, x, classes) => {
    const gates = np
      .matmul(x.reshape([T * B, D]), input.transpose())
      .add(bias)
      .reshape([T, B, 4 * H]);
    const across = recurrent.transpose(); // [H,4*H]
    let h = np.zeros([B, H]);
    let c = np.zeros([B, H]);
    const all = [];
    for (let t = 0; t < T; t++) {
      const pre = gates.ref.slice(t).add(np.matmul(h, across.ref)); // [B,4*H]
      const gate = (g, last = false) => (last ? pre : pre.ref).slice([], [g * H, (g + 1) * H]);
      const kept = nn.sigmoid(gate(1)).mul(c);
      c = kept.add(nn.sigmoid(gate(0)).mul(np.tanh(gate(2))));
      h = nn.sigmoid(gate(3, true)).mul(np.tanh(c.ref));
      all.push(h.ref);
    }
    [gates, across, h, c].forEach((one) => one.dispose());
    const logits = np.matmul(np.stack(all).reshape([T * B, H]), output.transpose());
    return crossEntropy(logits, classes.reshape([T * B]), V, T * B);
  };
  const weights = [array(input, [4 * H, D]), array(recurrent, [4 * H, H]), array(bias, [4 * H]), array(output, [V, H])];
  return training(weights, [array(x, [B, T, D]).transpose([1, 0, 2]), classes], learningRate, lossOf);
}

export async function open() {
  const devices = await jax.init('webgpu');
  if (!devices.includes('webgpu')) throw new Error('jax-js found no WebGPU');
  jax.defaultDevice('webgpu');
  return { matmul: async (all) => matmul(all), mlp: async (all) => mlp(all), lstm: async (all) => lstm(all) };
}
