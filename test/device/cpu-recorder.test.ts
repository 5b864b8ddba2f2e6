/** @file Kernels that the cpu device records: what they compute when they are run again, and steps of every mixer. */
import { describe, expect, it } from 'vitest';
import type { Device, FloatArray } from '../../src/device/device.js';
import { Session } from '../../src/generate/decode.js';
import { mixerNames } from '../../src/mixers/registry.js';
import { Activation } from '../../src/device/kernels.js';
import { LanguageModel } from '../../src/model/language-model.js';
import { normal, randomKey } from '../../src/tensor/random.js';
import { cpuOrReason } from '../support/cpu.js';

const cpu = cpuOrReason();

describe.skipIf(typeof cpu === 'string')(
  `recordings of the cpu device${typeof cpu === 'string' ? `: ${cpu}` : ''}`,
  () => {
    const device = cpu as Device;
    const { recorder, kernels } = typeof cpu === 'string' ? ({} as Device) : cpu;
    const put = (values: readonly number[]) => {
      const buffer = device.alloc('float', values.length);
      device.write(buffer, Float32Array.from(values));
      return buffer;
    };

    it('run each time with what their memory then holds, and not while they are recorded', async () => {
      const [x, y] = [put([1, 2, 3]), put([0, 0, 0])];
      const recording = recorder!.record(() => {
        const middle = device.alloc('float', 3);
        kernels.add(middle, x, x, 3);
        kernels.add(y, middle, x, 3);
        device.free(middle);
      });
      expect([...(await device.read(y))]).toEqual([0, 0, 0]);
      recording.launch();
      expect([...(await device.read(y))]).toEqual([3, 6, 9]);
      const others = Array.from({ length: 20 }, () => put([7, 7, 7])); // none is the memory in the middle
      device.write(x, Float32Array.of(10, 20, 30));
      recording.launch();
      expect([...(await device.read(y))]).toEqual([30, 60, 90]);
      for (const other of others) expect([...(await device.read(other))]).toEqual([7, 7, 7]);
      recording.destroy();
      expect(recording.isDestroyed).toBe(true);
      expect(() => recording.launch()).toThrow('no such graph; was it destroyed?');
      for (const buffer of [x, y, ...others]) device.free(buffer);
    });

    it('write again what was written', async () => {
      const [x, y] = [put([0, 0]), put([0, 0])];
      const values = Float32Array.of(1, 2);
      const recording = recorder!.record(() => {
        device.write(x, values);
        kernels.accumulate(y, x, 1, 2);
      });
      values.fill(9);
      expect([...(await device.read(x))]).toEqual([0, 0]);
      for (let launch = 1; launch <= 2; launch++) {
        device.write(x, Float32Array.of(5, 5));
        recording.launch();
        expect([...(await device.read(y))]).toEqual([launch, 2 * launch]);
      }
      recording.destroy();
      for (const buffer of [x, y]) device.free(buffer);
    });

    it('have the same bits with other numbers of threads than the last time, which they ask ahead for', async () => {
      const [N, K] = [603, 301];
      const [weights, x, middle] = [
        put([...normal(randomKey(1), N * K)]),
        put(Array<number>(K).fill(0.5)),
        put(Array<number>(N).fill(0)),
      ];
      const wide = device.alloc('float', K);
      const recording = recorder!.record(() => {
        kernels.matmul(middle, x, weights, null, 1, N, K, false, true, K, K, N, false, Activation.none);
        kernels.matmul(wide, middle, weights, null, 1, K, N, false, true, N, N, K, false, Activation.none);
      });
      const results: FloatArray[] = [];
      for (const threads of [1, 2, 5, 3, 3, 1]) {
        cpuOrReason({ threads });
        recording.launch();
        results.push((await device.read(wide)) as FloatArray);
      }
      cpuOrReason({ threads: 0 });
      for (const result of results) expect(result).toEqual(results[0]);
      recording.destroy();
      for (const buffer of [weights, x, middle, wide]) device.free(buffer);
      // What was announced last may be gone before a thread asks for it.
      const next = put([1, 2, 3]);
      const after = recorder!.record(() => kernels.add(next, next, next, 3));
      after.launch();
      expect([...(await device.read(next))]).toEqual([2, 4, 6]);
      after.destroy();
      device.free(next);
    });

    it('end with a sentence where they cannot go on', async () => {
      const x = put([1]);
      let reading: Promise<unknown> = Promise.resolve();
      recorder!.record(() => void (reading = device.read(x))).destroy();
      await expect(reading).rejects.toThrow('read: not while kernels are recorded');
      expect(() => recorder!.record(() => void recorder!.record(() => {}))).toThrow('is recording already');
      const tokens = device.alloc('int32', 1);
      device.write(tokens, Int32Array.of(5));
      const recording = recorder!.record(() => kernels.embeddingForward(x, tokens, x, 1, 1, 1));
      expect(() => recording.launch()).toThrow('token 5 at position 0 lies outside of the vocabulary');
      recording.destroy();
      device.free(x);
      device.free(tokens);
    });

    const V = 19;
    /** What the mixers need that look ahead by themselves. */
    const CAUSAL = { bigs: { direction: 'forward' } } as const;
    async function logitsOf(on: Device, mixer: string): Promise<FloatArray[]> {
      using model = LanguageModel.create({ vocabSize: V, dim: 16, blocks: [mixer, mixer], ...CAUSAL }, on, 3);
      using session = new Session(model);
      await session.read(Int32Array.of(1, 2, 3, 4, 5));
      const all: FloatArray[] = [];
      for (let token = 0; token < 12; token++) {
        await session.read(Int32Array.of(token));
        all.push(session.logits!);
      }
      return all;
    }

    const plain = typeof cpu === 'string' ? cpu : (Object.create(cpu, { recorder: { value: undefined } }) as Device);

    const causal = mixerNames().filter((name) => name !== 'linformer'); // which always looks ahead
    it.each(causal)('steps of %s say the same, bit for bit', async (mixer) => {
      expect(await logitsOf(device, mixer)).toEqual(await logitsOf(plain as Device, mixer));
    });
  },
);
