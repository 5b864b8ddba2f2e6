/** @file Matrix products of one row's shapes, with each operand as it is or transposed. */
import { createCpuDevice } from '../../../src/device/cpu/cpu.js';
import { Activation } from '../../../src/device/kernels.js';
import { openSafetensors } from '../../../src/model/safetensors.js';
import type { Work } from '../row.js';
import { answer, readJob, timeShort } from './job.js';

const job = readJob<{ inputs: string; cases: readonly string[] }>();
const device = createCpuDevice({ threads: job.threads });
const file = openSafetensors(job.inputs);
const seconds: Record<string, number[]> = {};
const outputs: Record<string, number[]> = {};
const work: Record<string, Work> = {};

for (const name of job.cases) {
  // "2048x768x512 NT": M x N x K, a as it is, b transposed.
  const [M, N, K] = name.split(' ')[0]!.split('x').map(Number) as [number, number, number];
  const [transA, transB] = [name.at(-2) === 'T', name.at(-1) === 'T'];
  const [a, b, c] = [M * K, K * N, M * N].map((length) => device.alloc('float', length));
  device.write(a!, file.readFloat32('a').subarray(0, M * K));
  device.write(b!, file.readFloat32('b').subarray(0, K * N));
  const [lda, ldb] = [transA ? M : K, transB ? K : N];
  const call = (): void =>
    device.kernels.matmul(c!, a!, b!, null, M, N, K, transA, transB, lda, ldb, N, false, Activation.none);
  call();
  outputs[name] = [...((await device.read(c!)) as Float32Array).subarray(0, 1000)];
  seconds[name] = await timeShort({ ...job, seconds: job.seconds / job.cases.length }, call);
  work[name] = { flops: 2 * M * N * K, ...(M === 1 && { bytes: 4 * K * N }) };
  for (const buffer of [a!, b!, c!]) device.free(buffer);
}
answer({ seconds, outputs, work });
