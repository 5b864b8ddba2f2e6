/** @file TensorFlow.js with its backend of WebGPU in the bench. */
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-webgpu';
import { LOSSES } from '../contender.js';

function matmul({ M, N, K, a, b }) {
  const [first, second] = [tf.tensor2d(a, [M, K]), tf.tensor2d(b, [K, N])];
  return {
    async calls(count) {
      let last = tf.matMul(first, second);
      for (let call = 1; call < count; call++) {
        last.dispose();
        last = tf.matMul(first, second);
      }
      // Reading a result is the one way in which it surely waits.
      const corner = tf.slice(last, [M - 1, N - 1], [1, 1]);
      await corner.data();
      tf.dispose([last, corner]);
    },
    async outputs() {
      const product = tf.matMul(first, second);
      const values = await product.data();
      product.dispose();
      return values;
    },
    dispose: () => tf.dispose([first, second]),
  };
}

function training(weights, inputs, learningRate, lossOf) {
  const optimizer = tf.train.sgd(learningRate);
  const step = async () => {
    const loss = optimizer.minimize(lossOf, true, weights);
    const [value] = await loss.data();
    loss.dispose();
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
    dispose: () => tf.dispose([...weights, ...inputs]),
  };
}

const variable = (data, shape) => tf.variable(tf.tensor(data, shape));

function mlp({ N, D, H, V, x, w1, w2, targets, learningRate }) {
  const input = tf.tensor2d(x, [N, D]);
  const classes = tf.oneHot(tf.tensor1d(targets, 'int32'), V);
  const weights = [variable(w1, [H, D]), variable(w2, [V, H])];
  return training(weights, [input, classes], learningRate, () => {
    const logits = tf.matMul(tf.relu(tf.matMul(input, weights[0], false, true)), weights[1], false, true);
    return tf.losses.softmaxCrossEntropy(classes, logits);
  });
}

/** Time comes first, so that a step is one stretch of memory; the product with the input is one for all steps. */
function lstm({ B, T, D, H, V, x, input, recurrent, bias, output, targets, learningRate }) {
  const steps = tf.tidy(() =>
    tf
      .tensor(x, [B, T, D])
      .transpose([1, 0, 2])
      .reshape([T * B, D]),
  );
  const classes = tf.tidy(() =>
    tf.oneHot(
      tf
        .tensor(targets, [B, T], 'int32')
        .transpose()
        .reshape([T * B]),
      V,
    ),
  );
  const weights = [
    variable(input, [4 * H, D]),
    variable(recurrent, [4 * H, H]),
    variable(bias, [4 * H]),
    variable(output, [V, H]),
  ];
  return training(weights, [steps, classes], learningRate, () => {
    const gates = tf
      .matMul(steps, weights[0], false, true)
      .add(weights[2])
      .reshape([T, B, 4 * H]);
    let [h, c] = [tf.zeros([B, H]), tf.zeros([B, H])];
    const all = tf.unstack(gates).map((own) => {
      const pre = own.add(tf.matMul(h, weights[1], false, true)); // [B,4*H]
      const [i, f, z, o] = tf.split(pre, 4, 1);
      c = tf
        .sigmoid(f)
        .mul(c)
        .add(tf.sigmoid(i).mul(tf.tanh(z)));
      h = tf.sigmoid(o).mul(tf.tanh(c));
      return h;
    });
    return tf.losses.softmaxCrossEntropy(classes, tf.matMul(tf.concat(all), weights[3], false, true));
  });
}

export async function open() {
  if (!(await tf.setBackend('webgpu'))) throw new Error('tfjs cannot start its backend of WebGPU');
  await tf.ready();
  return { matmul: async (all) => matmul(all), mlp: async (all) => mlp(all), lstm: async (all) => lstm(all) };
}
