/** @file Zeros that the cpu device owes a gradient are there for everybody but the kernel that writes over them. */
import { describe, expect, it } from 'vitest';
import type { Device } from '../../src/device/device.js';
import { Activation } from '../../src/device/kernels.js';
import { cpuOrReason } from '../support/cpu.js';

const cpu = cpuOrReason();
const N = 5003; // enough to be owed

describe.skipIf(typeof cpu === 'string')(`zeros of the cpu device${typeof cpu === 'string' ? `: ${cpu}` : ''}`, () => {
  const device = cpu as Device;
  const { kernels } = typeof cpu === 'string' ? ({} as Device) : cpu;
  const full = (value: number) => {
    const buffer = device.alloc('float', N);
    device.write(buffer, new Float32Array(N).fill(value));
    return buffer;
  };
  const valuesOf = async (buffer: ReturnType<typeof full>) => [...new Set(await device.read(buffer))];

  it('are read', async () => {
    const y = full(7);
    kernels.fill(y, 0, N);
    expect(await valuesOf(y)).toEqual([0]);
    device.free(y);
  });

  it('are there for other kernels, and for a kernel of part of them', async () => {
    const [y, x] = [full(7), full(2)];
    kernels.fill(y, 0, N);
    kernels.accumulate(y, x, 3, N);
    expect(await valuesOf(y)).toEqual([6]);
    kernels.fill(y, 0, N);
    kernels.activationBackward(device.view(y, 0, N - 1), x, x, N - 1, Activation.relu);
    expect([...(await device.read(device.view(y, N - 2, 2)))]).toEqual([2, 0]);
    for (const buffer of [y, x]) device.free(buffer);
  });

  it('do not come over what is written after them, nor into memory that somebody else has by now', async () => {
    const y = full(7);
    kernels.fill(y, 0, N);
    device.write(y, new Float32Array(N).fill(3));
    kernels.add(y, y, y, N);
    expect(await valuesOf(y)).toEqual([6]);
    kernels.fill(y, 0, N);
    device.free(y);
    const others = Array.from({ length: 4 }, () => full(5));
    for (const other of others) {
      expect(await valuesOf(other)).toEqual([5]);
      device.free(other);
    }
  });

  it('need not be written where a kernel adds to all of them, once or to two gradients that are one', async () => {
    const [dgate, dup, x, dy] = [full(7), full(8), full(2), full(10)];
    kernels.fill(dgate, 0, N);
    kernels.fill(dup, 0, N);
    kernels.gatedActivationBackward(dgate, dup, dy, x, x, N, Activation.relu);
    expect([await valuesOf(dgate), await valuesOf(dup)]).toEqual([[20], [20]]);
    kernels.fill(dgate, 0, N);
    kernels.mulBackward(dgate, dgate, dy, x, x, N);
    expect(await valuesOf(dgate)).toEqual([40]);
    kernels.mulBackward(dgate, null, dy, x, x, N);
    expect(await valuesOf(dgate)).toEqual([60]);
    for (const buffer of [dgate, dup, x, dy]) device.free(buffer);
  });

  it('of many gradients at once are all there', async () => {
    const many = Array.from({ length: 12 }, () => full(7));
    for (const y of many) kernels.fill(y, 0, N);
    for (const y of many) expect(await valuesOf(y)).toEqual([0]);
    for (const y of many) device.free(y);
  });
});
