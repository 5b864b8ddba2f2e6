/** @file The model of two layers in jax-js, on its WebAssembly backend; as it is in Node, or with workers as in a browser. */
import { answer, job, load, readTensors, timed } from './common.mjs';
import { installWorkers } from './worker-shim.mjs';

if (job.workers) installWorkers(job.threads);
const jax = await load('@jax-js/jax', 'dist/index.js');
const { jit, nn, numpy: np, valueAndGrad } = jax;
await jax.init('wasm');
jax.defaultDevice('wasm');

const { x, w1, w2, targets } = readTensors(job.weights);
const array = ({ data, shape }) => np.array(data, { shape, dtype: np.float32 });
const [N] = x.shape;
const [V] = w2.shape;
const input = array(x);
const classes = np.array(targets.data, { shape: [N], dtype: np.int32 });

// Every use of an array but the last takes a reference; a function owns what it is given.
function lossOf(first, second, input, classes) {
  const hidden = nn.relu(np.matmul(input, first.transpose()));
  const logits = np.matmul(hidden, second.transpose());
  return nn
    .logSoftmax(logits, -1)
    .mul(nn.oneHot(classes, V))
    .sum()
    .mul(-1 / N);
}

const update = jit((first, second, input, classes) => {
  const [loss, [dfirst, dsecond]] = valueAndGrad(lossOf, { argnums: [0, 1] })(first.ref, second.ref, input, classes);
  return [loss, first.sub(dfirst.mul(job.learningRate)), second.sub(dsecond.mul(job.learningRate))];
});

let weights = [array(w1), array(w2)];

async function step() {
  const [loss, ...updated] = update(...weights, input.ref, classes.ref);
  weights = updated;
  const [value] = await loss.data();
  await jax.blockUntilReady(weights.map((weight) => weight.ref));
  return value;
}

const losses = [await step(), await step(), await step()];
answer(await timed(step), { losses }, '@jax-js/jax');
