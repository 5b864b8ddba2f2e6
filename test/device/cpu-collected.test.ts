/** @file Kernels that the cpu device collects: when they run, and that they compute what they compute one by one. */
import { describe, expect, it } from 'vitest';
import type { Device } from '../../src/device/device.js';
import { Activation, type DeviceBuffer } from '../../src/device/kernels.js';
import { LanguageModel } from '../../src/model/language-model.js';
import { randomKey } from '../../src/tensor/random.js';
import { scope } from '../../src/tensor/scope.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { Trainer } from '../../src/train/trainer.js';
import { cpuOrReason } from '../support/cpu.js';

const cpu = cpuOrReason();

describe.skipIf(typeof cpu === 'string')(
  `collections of the cpu device${typeof cpu === 'string' ? `: ${cpu}` : ''}`,
  () => {
    const device = cpu as Device;
    const { kernels } = device;
    const put = (values: readonly number[]): DeviceBuffer => {
      const buffer = device.alloc('float', values.length);
      device.write(buffer, Float32Array.from(values));
      return buffer;
    };
    const collected = <T>(body: () => T): T => device.collected!(body);

    it('run at their end, in order, and what they freed is free then', async () => {
      const y = put([0, 0, 0]);
      const result = collected(() => {
        const x = device.alloc('float', 3);
        const values = Float32Array.of(1, 2, 3);
        device.write(x, values);
        values.fill(9); // what is written is what was there
        kernels.add(y, x, x, 3);
        device.free(x);
        const other = device.alloc('float', 3); // perhaps the same memory
        kernels.fill(other, 5, 3);
        kernels.accumulate(y, other, 1, 3);
        device.free(other);
        return 'result';
      });
      expect(result).toBe('result');
      expect([...(await device.read(y))]).toEqual([7, 9, 11]);
      device.free(y);
    });

    it('run before a buffer is read, and go on', async () => {
      const y = put([1]);
      const reads: Promise<unknown>[] = [];
      collected(() => {
        kernels.accumulate(y, y, 1, 1);
        reads.push(device.read(y));
        kernels.accumulate(y, y, 1, 1);
        collected(() => kernels.accumulate(y, y, 1, 1)); // a part of the outer one
        reads.push(device.read(y));
        kernels.accumulate(y, y, 1, 1);
      });
      expect((await Promise.all(reads)).map((data) => (data as Float32Array)[0])).toEqual([2, 8]);
      expect([...(await device.read(y))]).toEqual([16]);
      device.free(y);
    });

    it('run what was recorded elsewhere where it is launched', async () => {
      const y = put([1]);
      const recording = device.recorder!.record(() => {
        kernels.accumulate(y, y, 1, 1); // y = 2 y
      });
      collected(() => {
        kernels.fill(y, 5, 1);
        recording.launch();
        kernels.fill(put([0]), 0, 1);
      });
      expect([...(await device.read(y))]).toEqual([10]);
      recording.destroy();
      expect(() => collected(() => void device.recorder!.record(() => {}))).toThrow('is recording already');
      device.free(y);
    });

    it('tell the error of a kernel at their end, and leave nothing of it behind', async () => {
      const [x, y, tokens] = [put([1]), put([1]), device.alloc('int32', 1)];
      device.write(tokens, Int32Array.of(5));
      const wrong = () =>
        collected(() => {
          kernels.embeddingForward(x, tokens, x, 1, 1, 1);
          kernels.fill(y, 2, 1);
          return 'not reached';
        });
      for (let time = 0; time < 2; time++)
        expect(wrong).toThrow('token 5 at position 0 lies outside of the vocabulary');
      expect([...(await device.read(y))]).toEqual([1]);
      expect(() =>
        collected(() => {
          kernels.fill(y, 3, 1);
          throw new Error('of the body');
        }),
      ).toThrow('of the body');
      expect([...(await device.read(y))]).toEqual([3]); // what came before the error ran, as it would have one by one
      for (const buffer of [x, y, tokens]) device.free(buffer);
    });

    it('keep zeros that are owed apart from memory that is taken again', async () => {
      const N = 8192; // enough that a fill with zeros is put off
      const [y, dy] = [device.alloc('float', N), put(new Array<number>(N).fill(1))];
      collected(() => {
        const zeros = device.alloc('float', N);
        kernels.fill(zeros, 0, N);
        device.free(zeros);
        const dx = device.alloc('float', N); // the same memory
        kernels.fill(dx, 0, N);
        kernels.activationBackward(dx, dy, dy, N, Activation.none); // claims zeros, of which nothing must be left
        kernels.copy(y, dx, N);
        device.free(dx);
        kernels.fill(device.alloc('float', N), 0, N); // owed when the collection ends
      });
      expect((await device.read(y)).every((value) => value === 1)).toBe(true);
      for (const buffer of [y, dy]) device.free(buffer);
    });

    /** Losses of a few steps, and the parameters after them. */
    async function trained(on: Device, stateful: boolean) {
      const config = { vocabSize: 19, dim: 16, blocks: ['mlstm', 'slstm', 'mlstmLarge', 'attention'], dropout: 0.1 };
      using model = LanguageModel.create(config, on, 3);
      const trainer = new Trainer(model, {
        optimizer: { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, decay: 'matrices' },
        gradientClip: 1,
        checkpointBlocks: stateful,
        stateful,
        key: randomKey(5),
      });
      const [B, T] = [2, 70];
      const tokens = Int32Array.from({ length: B * T }, (_, k) => (k * 7) % 19);
      const reset = Uint8Array.from({ length: B * T }, (_, k) => Number(k % 31 === 0));
      const batch = { B, T, tokens, targets: tokens.map((token) => (token + 1) % 19), reset };
      const losses: number[] = [];
      for (let step = 0; step < 4; step++) losses.push((await trainer.step([batch, batch], 1e-2, step)).loss);
      trainer.dispose();
      return { losses, values: await device.read(model.parameters.values) };
    }

    it.each([false, true])(
      'train the same bits as kernels one by one (state and recomputing: %s)',
      async (stateful) => {
        const plain = Object.create(device, { collected: { value: undefined } }) as Device;
        expect(await trained(device, stateful)).toEqual(await trained(plain, stateful));
      },
    );

    it('are those of a scope that asks for one', async () => {
      const bytes = device.memory.bytes;
      let early: number | undefined;
      const made = scope(device, { collect: true }, () => {
        const x = Tensor.from(device, Float32Array.of(1, 2), [2]);
        kernels.accumulate(x.buffer, x.buffer, 1, 2);
        early = device.memory.bytes;
        return x;
      });
      expect(early).toBeGreaterThan(bytes);
      expect([...(await made.take())]).toEqual([2, 4]);
      expect(device.memory.bytes).toBe(bytes);
      let isReached = false;
      const wrong = (collect: boolean) =>
        scope(device, { collect }, () => {
          const [x, token] = [Tensor.from(device, Float32Array.of(1), [1]), Tensor.from(device, Int32Array.of(5), [1])];
          kernels.embeddingForward(x.buffer, token.buffer, x.buffer, 1, 1, 1);
          isReached = true;
        });
      expect(() => wrong(false)).toThrow('token 5 at position 0');
      expect(isReached).toBe(false);
      expect(() => wrong(true)).toThrow('token 5 at position 0');
      expect(isReached).toBe(true);
      expect(device.memory.bytes).toBe(bytes);
    });
  },
);
