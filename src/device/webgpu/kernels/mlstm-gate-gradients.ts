/**
 * @file The gradients of the gates of the mLSTM of the WebGPU device: by chunks those of log i and log f, then back over time
 * what the running maximum hands on. The rest of the backward pass is in `mlstm-backward.ts`.
 */
import { map, program } from '../program.js';
import { addProducts, CHUNKS, each, ofColumns, ofRows, SIZES, weigh, WEIGHTS } from './mlstm-chunks.js';
import { TILES, VALUES } from './mlstm-tiles.js';
import { groupSum } from './sums.js';

/** A workgroup per sequence, head and chunk: gradients of log i and log f, as planes [2,B,T,NH]. */
export const GATE_GRADIENTS = program({
  name: 'mlstmBackward gates',
  writes: 'dlog',
  reads: 'gates states dstates dnum inter q k v',
  sizes: `${SIZES} rows scale:f32`,
  threads: 64,
  code: `${CHUNKS}${WEIGHTS}${TILES}${VALUES}${groupSum({ THREADS: 64 })}
var<workgroup> a_tile: array<f32, 544>;
var<workgroup> b_tile: array<f32, 544>;
var<workgroup> from_state: array<f32, 32>; // of step t with the state before the chunk
var<workgroup> to_state: array<f32, 32>; // of step s with the state behind the chunk; then its sums over s before
fn kernel(group: u32, lane: u32) {
  let chunk = group % p.NC;
  let item = group / p.NC;
  let b = item / p.NH;
  let head = item % p.NH;
  let before = (item * (p.NC + 1u) + chunk) * p.DK * p.DW;
  load_factors(b, head, chunk, lane);
  make_weights(lane);
  // Of each: q_t . k_s, dnum_t . v_s
  ${each((j) => `var product${j} = 0.0; var pair${j} = 0.0;`)}
  for (var first = 0u; first < p.DK; first += 16u) {
    workgroupBarrier();
    for (var part = 0u; part < 8u; part++) {
      let r = (lane + 64u * part) / 16u;
      a_tile[17u * r + lane % 16u] = query_at(b, head, chunk, r, first + lane % 16u);
      b_tile[17u * r + lane % 16u] = key_at(b, head, chunk, r, first + lane % 16u);
    }
    workgroupBarrier();
    for (var d = 0u; d < 16u; d++) {
      ${ofRows('query', (row) => `a_tile[17u * ${row} + d]`)}
      ${ofColumns('key', (column) => `b_tile[17u * ${column} + d]`)}
      ${addProducts('product', 'query', 'key')}
    }
  }
  for (var first = 0u; first < p.DW; first += 16u) {
    workgroupBarrier();
    for (var part = 0u; part < 8u; part++) {
      let r = (lane + 64u * part) / 16u;
      a_tile[17u * r + lane % 16u] = dnum_of(b, head, chunk, r, first + lane % 16u);
      b_tile[17u * r + lane % 16u] = value_at(b, head, chunk, r, first + lane % 16u);
    }
    workgroupBarrier();
    for (var e = 0u; e < 16u; e++) {
      ${ofRows('dvalue', (row) => `a_tile[17u * ${row} + e]`)}
      ${ofColumns('value', (column) => `b_tile[17u * ${column} + e]`)}
      ${addProducts('pair', 'dvalue', 'value')}
    }
  }
  // The state before the chunk with the state behind it.
  var part = 0.0;
  for (var at = lane; at < p.DK * p.DW; at += THREADS) {
    part += states_at(before + at) * dstates_at(before + p.DK * p.DW + at);
  }
  let through = weighed(left_of[31], group_sum(lane, part));
  ${each((n) => weigh(n, `product${n} * pair${n}`))}
  if (lane < 32u) {
    var sum = 0.0;
    var sum_end = 0.0;
    if (is_step(chunk, lane)) {
      let row = row_of(b, head, chunk, lane) * p.DK;
      for (var d = 0u; d < p.DK; d++) {
        sum += q_at(row + d) * p.scale * inter_at(row + d);
        sum_end += k_at(row + d) * inter_at(p.rows * p.DK + row + d);
      }
    }
    from_state[lane] = select(sum, 0.0, left_of[lane] == 0.0);
    to_state[lane] = select(sum_end, 0.0, end_of[lane] == 0.0);
  }
  workgroupBarrier();
  var dlog_i = 0.0;
  if (lane < 32u) {
    dlog_i = to_state[lane];
    for (var t = lane; t < CHUNK; t++) { dlog_i += weights[33u * t + lane]; }
  }
  workgroupBarrier();
  // Each row becomes its sums over what lies before: element s of row t over the state and the steps before s.
  if (lane < 32u) {
    var sum = from_state[lane];
    for (var s = 0u; s < CHUNK; s++) {
      let here = weights[33u * lane + s];
      weights[33u * lane + s] = sum;
      sum += here;
    }
  } else if (lane == 32u) {
    var sum = through;
    for (var s = 0u; s < CHUNK; s++) {
      let here = to_state[s];
      to_state[s] = sum;
      sum += here;
    }
  }
  workgroupBarrier();
  if (lane >= 32u || !is_step(chunk, lane)) { return; }
  var dlog_f = to_state[lane];
  for (var t = lane; t < CHUNK; t++) { dlog_f += weights[33u * t + lane]; }
  let row = row_of(b, head, chunk, lane);
  dlog_set(row, dlog_i);
  dlog_set(p.rows + row, dlog_f);
}`,
});

/** An invocation per sequence and head walks back over time: the gradient of m goes where the maximum came from. */
export const LAST = map(
  'mlstmBackward di df',
  'di df dmin',
  'gates dlog dm dmout',
  'T NH rows',
  `let b = n / p.NH;
  let head = n % p.NH;
  var carried = dmout_at(n);
  for (var back = 0u; back < p.T; back++) {
    let row = (b * p.T + p.T - 1u - back) * p.NH + head;
    var di = dlog_at(row);
    var df = dlog_at(p.rows + row);
    if (EXPONENTIAL) {
      // i = exp(i~ - m);  f = exp(logsigmoid(f~) + m' - m)
      let here = carried + dm_at(row) - di - df;
      if (gates_at(2u * p.rows + row) != 0.0) { di += here; } else { df += here; }
      carried = df;
    } else {
      carried = 0.0;
    }
    di_add(row, di * gates_at(4u * p.rows + row));
    df_add(row, df * gates_at(3u * p.rows + row));
  }
  dmin_add(n, carried);`,
);
