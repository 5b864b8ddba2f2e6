/**
 * @file What a sequence model answers to a batch of a task, and how wrong that is: the loss to train on, and counts of right
 * answers. It does not train.
 */
import type { TaskBatch } from '../data/tasks/batch.js';
import { largestLogit } from '../generate/largest-logit.js';
import type { SequenceModel } from '../model/sequence-model.js';
import { mul, subtract } from '../ops/elementwise.js';
import { embedding } from '../ops/embedding.js';
import { linearCrossEntropy } from '../ops/linear-cross-entropy.js';
import { meanPool } from '../ops/mean-pool.js';
import { sum } from '../ops/sum.js';
import { fold, type RandomKey } from '../tensor/random.js';
import { scope } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';

/** Sums over the answers of a batch. */
export interface Tally {
  /** Cross-entropy in nats, or squared error summed over the numbers of an answer. */
  loss: number;
  /** Right answers; 0 where answers are numbers. */
  right: number;
  answers: number;
}

type Rows = Pick<TaskBatch, 'B' | 'T' | 'lengths' | 'reset'> & { tokens?: Int32Array; vectors?: Float32Array };

/** Final hidden vectors [B,T,D]. */
function hiddenOf(model: SequenceModel, rows: Rows, key: RandomKey | null): Tensor {
  const { device, ends, backbone } = model;
  const { B, T, tokens, vectors } = rows;
  const { input } = ends;
  const x =
    input.kind === 'tokens' ? Tensor.from(device, tokens!, [B, T]) : Tensor.from(device, vectors!, [B, T, input.width]);
  // A causal mixer does not see what fills up a row behind an example.
  const looksAhead = backbone.blocks.some(({ mixer }) => !mixer.causal);
  const reset = looksAhead ? Tensor.from(device, rows.reset, [B, T]) : null;
  return model.forward(x, { wantState: false, reset, key }).hidden;
}

/** The vectors [M,D] that the output layer turns into answers, and the right tokens or classes [M]. */
function askedOf(
  model: SequenceModel,
  batch: TaskBatch,
  key: RandomKey | null,
): { vectors: Tensor; targets: Int32Array } {
  const { device, ends } = model;
  if (ends.output.kind === 'class') {
    const pool = (rows: Rows, tower: number) =>
      meanPool(hiddenOf(model, rows, key === null ? null : fold(key, tower)), rows.lengths);
    const first = pool(batch, 0);
    const vectors = batch.second === undefined ? first : model.pair(first, pool(batch.second, 1));
    return { vectors, targets: batch.labels! };
  }
  const hidden = hiddenOf(model, batch, key);
  const rows = hidden.reshape([batch.B * batch.T, hidden.extent(-1)]);
  const at = Int32Array.from([...batch.targets!.entries()].flatMap(([k, target]) => (target >= 0 ? [k] : [])));
  const vectors = at.length === rows.extent(0) ? rows : embedding(Tensor.from(device, at, [at.length]), rows);
  return { vectors, targets: at.map((k) => batch.targets![k]!) };
}

/** Differences [B,T,width] between the numbers of the model and the right ones, 0 where they do not count; how many do. */
function errorsOf(model: SequenceModel, batch: TaskBatch, key: RandomKey | null): { errors: Tensor; answers: number } {
  const { device, ends } = model;
  const width = ends.output.kind === 'values' ? ends.output.width : 0;
  const { B, T, values, valueMask } = batch;
  const shape = [B, T, width];
  const counts = Float32Array.from({ length: B * T * width }, (_, k) => valueMask![Math.floor(k / width)]!);
  const wrong = subtract(model.output(hiddenOf(model, batch, key)), Tensor.from(device, values!, shape));
  const answers = valueMask!.reduce((total, flag) => total + flag, 0);
  return { errors: mul(wrong, Tensor.from(device, counts, shape)), answers };
}

/** Mean loss of the answers of a batch, as a scalar. @throws RangeError for a batch that asks nothing. */
export function taskLoss(model: SequenceModel, batch: TaskBatch, key: RandomKey | null): Tensor {
  if (model.ends.output.kind === 'values') {
    const { errors, answers } = errorsOf(model, batch, key);
    return sum(mul(errors, errors), 1 / answers);
  }
  const { vectors, targets } = askedOf(model, batch, key);
  if (targets.length === 0) throw new RangeError('taskLoss: the batch asks for no answer');
  const rightOnes = Tensor.from(model.device, targets, [targets.length]);
  return sum(linearCrossEntropy(vectors, model.headTensors['head.weight']!, rightOnes), 1 / targets.length);
}

/** Loss and right answers of a batch. */
export async function taskTally(model: SequenceModel, batch: TaskBatch): Promise<Tally> {
  if (model.ends.output.kind === 'values') {
    const { errors, answers } = scope(model.device, {}, () => errorsOf(model, batch, null));
    const data = Float64Array.from(await errors.data());
    errors.dispose();
    return { loss: data.reduce((total, error) => total + error * error, 0), right: 0, answers };
  }
  const { logits, targets } = scope(model.device, {}, () => {
    const asked = askedOf(model, batch, null);
    return { logits: model.output(asked.vectors), targets: asked.targets };
  });
  const [data, classes] = [Float64Array.from(await logits.data()), logits.extent(-1)];
  logits.dispose();
  const tally: Tally = { loss: 0, right: 0, answers: targets.length };
  targets.forEach((target, n) => {
    const row = data.subarray(n * classes, (n + 1) * classes);
    const best = largestLogit(row);
    let total = 0;
    for (const logit of row) total += Math.exp(logit - row[best]!);
    tally.loss += row[best]! + Math.log(total) - row[target]!;
    if (best === target) tally.right += 1;
  });
  return tally;
}
