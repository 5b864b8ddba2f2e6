/** @file The two ends of a language model on the WebGPU device: the embedding, and the output layer with its loss. */
import type { DeviceBuffer, Kernels } from '../../kernels.js';
import type { Gpu } from '../gpu.js';
import { MATH } from '../math.js';
import { map, mapGroups, program } from '../program.js';
import { multiply } from './matmul.js';
import { groupMax, groupSum } from './sums.js';

/** Reports the first token that lies outside of least..V-1; one workgroup. */
const CHECK = program({
  name: 'check of tokens',
  writes: 'fault:i32',
  reads: 'tokens:i32',
  sizes: 'N V:i32 least:i32 kernel:i32',
  threads: 256,
  code: `
var<workgroup> first: atomic<u32>;
fn kernel(group: u32, lane: u32) {
  if (lane == 0u) { atomicStore(&first, 0xffffffffu); }
  workgroupBarrier();
  for (var n = lane; n < p.N; n += THREADS) {
    if (tokens_at(n) < p.least || tokens_at(n) >= p.V) { atomicMin(&first, n); }
  }
  workgroupBarrier();
  let n = atomicLoad(&first);
  if (lane != 0u || n == 0xffffffffu || fault_at(0u) != 0) { return; }
  fault_set(0u, p.kernel);
  fault_set(1u, tokens_at(n));
  fault_set(2u, i32(n));
  fault_set(3u, p.V);
}`,
});

/** Has the next read throw where a token lies outside of the vocabulary; kernels take such a token for none. */
export function checkTokens(gpu: Gpu, kernel: string, tokens: DeviceBuffer, N: number, V: number, least = 0): void {
  gpu.run(CHECK, { fault: gpu.fault, tokens }, { N, V, least, kernel: gpu.faultNumber(kernel) }, N === 0 ? 0 : 1);
}

const EMBEDDING = map(
  'embeddingForward',
  'y',
  'tokens:i32 table',
  'D V',
  `let token = u32(tokens_at(n / p.D));
  if (token < p.V) { y_set(n, table_at(token * p.D + n % p.D)); }`,
);
/** A workgroup per position: the first one of a token adds up all positions of it. */
const EMBEDDING_BACKWARD = program({
  name: 'embeddingBackward',
  writes: 'dtable',
  reads: 'dy tokens:i32',
  sizes: 'N D V',
  threads: 64,
  code: `
var<workgroup> earlier: atomic<u32>;
fn kernel(group: u32, lane: u32) {
  let token = tokens_at(group);
  if (lane == 0u) { atomicStore(&earlier, 0u); }
  workgroupBarrier();
  for (var n = lane; n < group; n += THREADS) { if (tokens_at(n) == token) { atomicStore(&earlier, 1u); } }
  workgroupBarrier();
  if (atomicLoad(&earlier) != 0u || u32(token) >= p.V) { return; }
  for (var d = lane; d < p.D; d += THREADS) {
    var sum = 0.0;
    for (var n = group; n < p.N; n++) { if (tokens_at(n) == token) { sum += dy_at(n * p.D + d); } }
    dtable_add(u32(token) * p.D + d, sum);
  }
}`,
});

const LOGIT = `${MATH}
fn logit(raw: f32) -> f32 {
  if (CAPPED) { return p.cap * xl_tanh(raw / p.cap); }
  return raw;
}
`;
/** A workgroup per row of raw logits [rows,V]. */
const LOSS = program({
  name: 'linearCrossEntropyForward',
  writes: 'loss logsumexp',
  reads: 'logits targets:i32',
  sizes: 'V first cap:f32',
  threads: 256,
  solo: true,
  code: (constants) => `${LOGIT}${groupSum(constants)}${groupMax(constants)}
fn kernel(group: u32, lane: u32) {
  let base = group * p.V;
  let row = p.first + group;
  var largest = LOWEST;
  for (var v = lane; v < p.V; v += THREADS) { largest = max(largest, logit(logits_at(base + v))); }
  let top = group_max(lane, largest);
  var part = 0.0;
  for (var v = lane; v < p.V; v += THREADS) { part += xl_exp(logit(logits_at(base + v)) - top); }
  let sum = group_sum(lane, part);
  if (lane != 0u) { return; }
  let lse = top + xl_log(sum);
  logsumexp_set(row, lse);
  let target_ = targets_at(row);
  if (u32(target_) < p.V) { loss_set(row, lse - logit(logits_at(base + u32(target_)))); } else { loss_set(row, 0.0); }
}`,
});
/** Raw logits [rows,V] become their gradients. */
const LOSS_BACKWARD = map(
  'linearCrossEntropyBackward',
  'logits',
  'dloss targets:i32 logsumexp',
  'V first cap:f32',
  `let row = p.first + n / p.V;
  let v = n % p.V;
  let target_ = targets_at(row);
  if (u32(target_) >= p.V) { logits_set(n, 0.0); return; }
  let value = logit(logits_at(n));
  // loss = logsumexp(logits) - logits[target]
  var dlogit = dloss_at(row) * (xl_exp(value - logsumexp_at(row)) - select(0.0, 1.0, u32(target_) == v));
  if (CAPPED) {
    // 1 - tanh^2 of what went in, for the logit itself is rounded where it is close to the cap.
    let raw = 2.0 * logits_at(n) / p.cap;
    dlogit *= 4.0 * xl_sigmoid(raw) * xl_sigmoid(-raw);
  }
  logits_set(n, dlogit);`,
  LOGIT,
);

/** Logits that are held at a time: 64 MiB, less where an adapter has no such buffers. */
const MOST_LOGITS = 2 ** 24;

/** Calls `body` with stretches of rows whose logits fit, and with those logits. */
function forChunks(
  gpu: Gpu,
  x: DeviceBuffer,
  weight: DeviceBuffer,
  [N, D, V]: readonly [number, number, number],
  body: (first: number, rows: number, x: DeviceBuffer, logits: DeviceBuffer) => void,
): void {
  const share = Math.min(N, Math.max(1, Math.floor(MOST_LOGITS / V)));
  if (N === 0) return;
  gpu.withScratch([share * V], (logits) => {
    for (let first = 0; first < N; first += share) {
      const rows = Math.min(share, N - first);
      const part = gpu.view(x, first * D, rows * D);
      // logits [rows,V] = x [rows,D] weight^T [D,V]
      multiply(gpu, { c: logits, a: part, b: weight, M: rows, N: V, K: D, transB: true, lda: D, ldb: D, ldc: V });
      body(first, rows, part, logits);
    }
  });
}

/**
 * The gradients of the loss. With `loss` it is computed too, and logsumexp with it; else logsumexp is that of the forward
 * kernel.
 */
function gradients(
  gpu: Gpu,
  { dx, dweight, loss }: { dx: DeviceBuffer; dweight: DeviceBuffer; loss: DeviceBuffer | null },
  { x, weight, ...read }: Record<'dloss' | 'x' | 'weight' | 'targets' | 'logsumexp', DeviceBuffer>,
  [N, D, V]: readonly [number, number, number],
  cap: number,
): void {
  const { targets, logsumexp } = read;
  const form = { CAPPED: cap !== 0 };
  forChunks(gpu, x, weight, [N, D, V], (first, rows, part, logits) => {
    if (loss !== null) gpu.run(LOSS, { loss, logsumexp, logits, targets }, { V, first, cap }, rows, form);
    gpu.run(LOSS_BACKWARD, { logits, ...read }, { N: rows * V, V, first, cap }, mapGroups(rows * V), form);
    // dx [rows,D] += dlogits [rows,V] weight [V,D];  dweight [V,D] += dlogits^T [V,rows] x [rows,D]
    const [into, a, accumulate] = [gpu.view(dx, first * D, rows * D), logits, true];
    multiply(gpu, { c: into, a, b: weight, M: rows, N: D, K: V, lda: V, ldb: D, ldc: D, accumulate });
    const shape = { M: V, N: D, K: rows, lda: V, ldb: D, ldc: D };
    multiply(gpu, { c: dweight, a, b: part, ...shape, transA: true, accumulate });
  });
}

export const languageModel = (gpu: Gpu) =>
  ({
    embeddingForward(y, tokens, table, N, D, V) {
      checkTokens(gpu, 'embeddingForward', tokens, N, V);
      gpu.run(EMBEDDING, { y, tokens, table }, { N: N * D, D, V }, mapGroups(N * D));
    },
    embeddingBackward(dtable, dy, tokens, N, D, V) {
      checkTokens(gpu, 'embeddingBackward', tokens, N, V);
      gpu.run(EMBEDDING_BACKWARD, { dtable, dy, tokens }, { N, D, V }, N);
    },
    linearCrossEntropyForward(loss, logsumexp, x, weight, targets, N, D, V, cap) {
      checkTokens(gpu, 'linearCrossEntropyForward', targets, N, V, -1);
      forChunks(gpu, x, weight, [N, D, V], (first, rows, _x, logits) => {
        gpu.run(LOSS, { loss, logsumexp, logits, targets }, { V, first, cap }, rows, { CAPPED: cap !== 0 });
      });
    },
    linearCrossEntropyBackward(dx, dweight, dloss, x, weight, targets, logsumexp, N, D, V, cap) {
      checkTokens(gpu, 'linearCrossEntropyBackward', targets, N, V, -1);
      gradients(gpu, { dx, dweight, loss: null }, { dloss, x, weight, targets, logsumexp }, [N, D, V], cap);
    },
    linearCrossEntropyForwardBackward(dx, dweight, loss, dloss, x, weight, targets, N, D, V, cap) {
      checkTokens(gpu, 'linearCrossEntropyForwardBackward', targets, N, V, -1);
      gpu.withScratch([N], (logsumexp) => {
        gradients(gpu, { dx, dweight, loss }, { dloss, x, weight, targets, logsumexp }, [N, D, V], cap);
      });
    },
  }) satisfies Partial<Kernels>;
