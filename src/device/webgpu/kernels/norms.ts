/** @file The norms of the WebGPU device over the last axis of [N,G,D]: a workgroup per row. */
import type { Kernels } from '../../kernels.js';
import type { Gpu } from '../gpu.js';
import { program } from '../program.js';
import { columnSum, groupSum } from './sums.js';

const THREADS = 64;

const LAYERNORM = program({
  name: 'layernormForward',
  writes: 'y mean rstd',
  reads: 'x weight bias',
  sizes: 'G D eps:f32 weightOffset:f32',
  threads: THREADS,
  solo: true,
  code: (constants) => `${groupSum(constants)}
fn kernel(group: u32, lane: u32) {
  let base = group * p.D;
  let g = (group % p.G) * p.D;
  var part = 0.0;
  for (var d = lane; d < p.D; d += THREADS) { part += x_at(base + d); }
  let m = group_sum(lane, part) / f32(p.D);
  part = 0.0;
  for (var d = lane; d < p.D; d += THREADS) { let x = x_at(base + d) - m; part += x * x; }
  let s = 1.0 / sqrt(group_sum(lane, part) / f32(p.D) + p.eps);
  for (var d = lane; d < p.D; d += THREADS) {
    y_set(base + d, (x_at(base + d) - m) * s * (p.weightOffset + weight_at(g + d)) + bias_at(g + d));
  }
  if (lane == 0u) {
    mean_set(group, m);
    rstd_set(group, s);
  }
}`,
});

const LAYERNORM_BACKWARD = program({
  name: 'layernormBackward dx',
  writes: 'dx',
  reads: 'dy x weight mean rstd',
  sizes: 'G D weightOffset:f32',
  threads: THREADS,
  solo: true,
  code: (constants) => `${groupSum(constants)}
fn kernel(group: u32, lane: u32) {
  let base = group * p.D;
  let g = (group % p.G) * p.D;
  let m = mean_at(group);
  let s = rstd_at(group);
  // norm = (x - mean) * rstd;  y = norm * (weightOffset + weight) + bias
  var sum = 0.0;
  var sum_norm = 0.0;
  for (var d = lane; d < p.D; d += THREADS) {
    let dnorm = dy_at(base + d) * (p.weightOffset + weight_at(g + d));
    sum += dnorm;
    sum_norm += dnorm * (x_at(base + d) - m) * s;
  }
  let mean_one = group_sum(lane, sum) / f32(p.D);
  let mean_norm = group_sum(lane, sum_norm) / f32(p.D);
  for (var d = lane; d < p.D; d += THREADS) {
    let dnorm = dy_at(base + d) * (p.weightOffset + weight_at(g + d));
    dx_add(base + d, (dnorm - mean_one - (x_at(base + d) - m) * s * mean_norm) * s);
  }
}`,
});

const RMSNORM = program({
  name: 'rmsnormForward',
  writes: 'y rstd',
  reads: 'x weight',
  sizes: 'G D eps:f32 weightOffset:f32',
  threads: THREADS,
  solo: true,
  code: (constants) => `${groupSum(constants)}
fn kernel(group: u32, lane: u32) {
  let base = group * p.D;
  let g = (group % p.G) * p.D;
  var part = 0.0;
  for (var d = lane; d < p.D; d += THREADS) { let x = x_at(base + d); part += x * x; }
  let s = 1.0 / sqrt(group_sum(lane, part) / f32(p.D) + p.eps);
  for (var d = lane; d < p.D; d += THREADS) {
    y_set(base + d, x_at(base + d) * s * (p.weightOffset + weight_at(g + d)));
  }
  if (lane == 0u) { rstd_set(group, s); }
}`,
});

const RMSNORM_BACKWARD = program({
  name: 'rmsnormBackward dx',
  writes: 'dx',
  reads: 'dy x weight rstd',
  sizes: 'G D weightOffset:f32',
  threads: THREADS,
  solo: true,
  code: (constants) => `${groupSum(constants)}
fn kernel(group: u32, lane: u32) {
  let base = group * p.D;
  let g = (group % p.G) * p.D;
  let s = rstd_at(group);
  // norm = x * rstd;  y = norm * (weightOffset + weight)
  var sum = 0.0;
  for (var d = lane; d < p.D; d += THREADS) {
    sum += dy_at(base + d) * (p.weightOffset + weight_at(g + d)) * x_at(base + d) * s;
  }
  let mean_norm = group_sum(lane, sum) / f32(p.D);
  for (var d = lane; d < p.D; d += THREADS) {
    let dnorm = dy_at(base + d) * (p.weightOffset + weight_at(g + d));
    dx_add(base + d, (dnorm - x_at(base + d) * s * mean_norm) * s);
  }
}`,
});

/** Columns are [G,D], rows N. */
const NORM_ROW = 'row * p.G + column / p.D';
const LAYERNORM_WEIGHT = columnSum(
  'layernormBackward dweight',
  'dy x mean rstd',
  'G D',
  `dy_at(e) * (x_at(e) - mean_at(${NORM_ROW})) * rstd_at(${NORM_ROW})`,
);
const LAYERNORM_BIAS = columnSum('layernormBackward dbias', 'dy', '', 'dy_at(e)');
const RMSNORM_WEIGHT = columnSum(
  'rmsnormBackward dweight',
  'dy x rstd',
  'G D',
  `dy_at(e) * x_at(e) * rstd_at(${NORM_ROW})`,
);

export const norms = (gpu: Gpu) =>
  ({
    layernormForward: (y, mean, rstd, x, weight, bias, N, G, D, eps, weightOffset) =>
      gpu.run(LAYERNORM, { y, mean, rstd, x, weight, bias }, { G, D, eps, weightOffset }, N * G),
    layernormBackward(dx, dweight, dbias, dy, x, weight, mean, rstd, N, G, D, weightOffset) {
      gpu.run(LAYERNORM_BACKWARD, { dx, dy, x, weight, mean, rstd }, { G, D, weightOffset }, N * G);
      LAYERNORM_WEIGHT(gpu, dweight, { dy, x, mean, rstd }, { G, D }, N, G * D);
      LAYERNORM_BIAS(gpu, dbias, { dy }, {}, N, G * D);
    },
    rmsnormForward: (y, rstd, x, weight, N, G, D, eps, weightOffset) =>
      gpu.run(RMSNORM, { y, rstd, x, weight }, { G, D, eps, weightOffset }, N * G),
    rmsnormBackward(dx, dweight, dy, x, weight, rstd, N, G, D, weightOffset) {
      gpu.run(RMSNORM_BACKWARD, { dx, dy, x, weight, rstd }, { G, D, weightOffset }, N * G);
      RMSNORM_WEIGHT(gpu, dweight, { dy, x, rstd }, { G, D }, N, G * D);
    },
  }) satisfies Partial<Kernels>;
