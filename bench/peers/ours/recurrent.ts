/** @file A recurrent layer over a sequence, forward and backward: the sLSTM cell, or an LSTM with its input matrix. */
import { createCpuDevice } from '../../../src/device/cpu/cpu.js';
import { openSafetensors } from '../../../src/model/safetensors.js';
import { linear } from '../../../src/ops/linear.js';
import { lstm, slstm } from '../../../src/ops/recurrent.js';
import { scope } from '../../../src/tensor/scope.js';
import { backward } from '../../../src/tensor/tape.js';
import { Tensor } from '../../../src/tensor/tensor.js';
import { answer, readJob, time } from './job.js';

const job = readJob<{ inputs: string; cell: 'slstm' | 'lstm' }>();
const device = createCpuDevice({ threads: job.threads });
const file = openSafetensors(job.inputs);
const names = [...file.tensors.keys()].filter((name) => name !== 'dy');

/** An input with a gradient. */
function leaf(name: string): Tensor {
  const tensor = Tensor.from(device, file.readFloat32(name), file.tensors.get(name)!.shape);
  tensor.attachGrad(device.alloc('float', tensor.size));
  return tensor;
}

const leaves = Object.fromEntries(names.map((name) => [name, leaf(name)]));
const dy = Tensor.from(device, file.readFloat32('dy'), file.tensors.get('dy')!.shape); // [B,T,D]
const gate = (name: string): Tensor => leaves[`gate.${name}`]!;

/** Four gates [B,T,D]: given, or made of the input x [B,T,D]. */
function gates() {
  const of = (name: string) => (job.cell === 'slstm' ? gate(name) : linear(leaves['x']!, leaves[`weight.${name}`]!));
  return { i: of('i'), f: of('f'), z: of('z'), o: of('o') };
}

function both(): Tensor {
  for (const tensor of Object.values(leaves)) device.kernels.fill(tensor.grad, 0, tensor.size);
  return scope(device, { record: true, collect: true }, () => {
    const run = { slstm, lstm }[job.cell];
    const [h] = run(gates(), leaves['recurrent']!, leaves['bias']!);
    h.retain();
    backward([[h, dy]], { release: true });
    return h;
  });
}

const h = both();
const outputs = { h: [...(await h.data())].slice(-1000) } as Record<string, number[]>;
for (const [name, { grad, size }] of Object.entries(leaves)) {
  outputs[`d${name}`] = [...((await device.read(grad)) as Float32Array).subarray(0, Math.min(1000, size))];
}
h.dispose();
const seconds = await time(job, () => both().dispose());
const [B, T, D] = dy.shape as [number, number, number];
const DH = leaves['recurrent']!.extent(2);
// Per token 2 * 4 * D * DH in the recurrence, as much for an input matrix of D columns; backward twice as much.
const columns = job.cell === 'slstm' ? DH : DH + D;
answer({ seconds: { '': seconds }, outputs, work: { '': { flops: 3 * 8 * B * T * D * columns } } });
