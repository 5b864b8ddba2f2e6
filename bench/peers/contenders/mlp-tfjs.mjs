/** @file The model of two layers in TensorFlow.js, on its WebAssembly backend. */
import { answer, folderOf, job, load, readTensors, timed } from './common.mjs';

const tf = await load('@tensorflow/tfjs');
const wasm = await load('@tensorflow/tfjs-backend-wasm');
wasm.setWasmPaths(`${folderOf('@tensorflow/tfjs-backend-wasm')}/dist/`);
wasm.setThreadsCount(job.threads);
await tf.setBackend('wasm');
await tf.ready();

const { x, w1, w2, targets } = readTensors(job.weights);
const input = tf.tensor2d(x.data, x.shape);
const classes = tf.tensor1d(targets.data, 'int32');
const weights = [w1, w2].map(({ data, shape }) => tf.variable(tf.tensor2d(data, shape)));
const optimizer = tf.train.sgd(job.learningRate);

function lossOf() {
  const logits = tf.matMul(tf.relu(tf.matMul(input, weights[0], false, true)), weights[1], false, true);
  return tf.losses.softmaxCrossEntropy(tf.oneHot(classes, w2.shape[0]), logits);
}

async function step() {
  const loss = optimizer.minimize(lossOf, true, weights);
  const [value] = await loss.data();
  loss.dispose();
  return value;
}

const losses = [await step(), await step(), await step()];
answer(await timed(step), { losses }, '@tensorflow/tfjs', '@tensorflow/tfjs-backend-wasm');
