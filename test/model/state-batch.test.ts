/** @file The batch of states: each row stays what its sequence is alone, whoever joins and leaves; and what that copies. */
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { LanguageModel } from '../../src/model/language-model.js';
import { StateBatch } from '../../src/model/state-batch.js';
import type { ModelState } from '../../src/model/state.js';
import { normal, randomKey } from '../../src/tensor/random.js';
import { scope } from '../../src/tensor/scope.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { relativeRms } from '../support/compare.js';
import { testDevices } from '../support/devices.js';

const V = 11;
const config = {
  vocabSize: V,
  dim: 16,
  blocks: ['mlstm', 'slstm', 'lstm', 'mlstmLarge'],
  mlstm: { heads: 2 },
  slstm: { heads: 2 },
  lstm: { heads: 2 },
  mlstmLarge: { heads: 2 },
};

describe.each(testDevices())('on $name', ({ create }) => {
  const device = create();
  device.poison = true;
  afterEach(() => vi.restoreAllMocks());

  /** A state of one sequence full of numbers that no other has. */
  const distinct = (model: LanguageModel, seed: number): ModelState => {
    const state = model.initialState(1);
    for (const [k, { buffer, size }] of state.tensors.entries()) {
      device.write(buffer, normal(randomKey(seed * 100 + k), size, 0.5, 0.1));
    }
    return state;
  };
  const stepped = (model: LanguageModel, state: ModelState, tokens: number[]): ModelState => {
    const step = () =>
      model.step(Tensor.from(device, Int32Array.from(tokens), [tokens.length]), state, { inPlace: true });
    return scope(device, {}, () => step().state);
  };
  const valuesOf = (state: ModelState) => Promise.all(state.tensors.map((tensor) => tensor.data()));

  it('whoever joins and leaves: each row is what its sequence is alone', async () => {
    using model = LanguageModel.create(config, device, 3);
    const before = device.memory.bytes;
    const action = fc.oneof(
      fc.record({ kind: fc.constant('add' as const), times: fc.integer({ min: 1, max: 4 }) }),
      fc.record({ kind: fc.constant('keep' as const), mask: fc.nat(2 ** 12 - 1) }),
      fc.record({ kind: fc.constant('step' as const), token: fc.nat(V - 1) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(action, { minLength: 1, maxLength: 14 }), async (actions) => {
        using batch = new StateBatch(model, 12);
        let alone: ModelState[] = [];
        let seed = 0;
        for (const act of actions) {
          if (act.kind === 'add' && alone.length + act.times <= 12) {
            const state = distinct(model, ++seed);
            for (let k = 0; k < act.times; k++) alone.push(state.clone());
            batch.add(state, act.times);
          } else if (act.kind === 'keep') {
            const old = alone;
            const stays = old.map((_, row) => ((act.mask >> row) & 1) === 1);
            const order = batch.keep(stays);
            expect([...order].sort((a, b) => a - b)).toEqual([...stays.keys()].filter((row) => stays[row]));
            old.forEach((state, row) => !stays[row] && state.dispose());
            alone = order.map((row) => old[row]!);
          } else if (act.kind === 'step' && alone.length > 0) {
            const tokens = alone.map((_, row) => (act.token + row) % V);
            batch.advance(stepped(model, batch.state, tokens));
            alone = alone.map((state, row) => {
              const next = stepped(model, state, [tokens[row]!]);
              state.giveWayTo(next);
              return next;
            });
          }
          expect(batch.count).toBe(alone.length);
          for (const [row, state] of alone.entries()) {
            using taken = batch.take(row);
            const [got, wanted] = [await valuesOf(taken), await valuesOf(state)];
            for (const [k, values] of got.entries()) expect(relativeRms(values, wanted[k]!)).toBeLessThan(1e-5);
          }
        }
        for (const state of alone) state.dispose();
        batch.dispose();
        expect(device.memory.bytes).toBe(before);
      }),
      { numRuns: device.name === 'cpu' ? 60 : 10 },
    );
  });

  /** A model whose whole state steps update in place. */
  const createLarge = () =>
    LanguageModel.create(
      { vocabSize: V, dim: 16, blocks: ['mlstmLarge', 'mlstmLarge'], mlstmLarge: { heads: 2 } },
      device,
    );

  it('a sequence that joins is copied alone, one that leaves moves the last; one alone is never copied', () => {
    using model = createLarge();
    using batch = new StateBatch(model);
    const one = model.stateSize;
    const copy = vi.spyOn(device.kernels, 'copy');
    /** Sequences' worth of numbers that an action copies. */
    const copied = (act: () => void): number => {
      copy.mockClear();
      act();
      return copy.mock.calls.reduce((sum, [, , N]) => sum + N, 0) / one;
    };
    const join = (times = 1) => copied(() => batch.add(model.initialState(1), times));
    const leave = (...rows: number[]) =>
      copied(() => batch.keep(Array.from({ length: batch.count }, (_, row) => !rows.includes(row))));
    const step = () => {
      batch.advance(
        stepped(
          model,
          batch.state,
          Array.from({ length: batch.count }, () => 1),
        ),
      );
    };
    expect(join()).toBe(0);
    expect(copied(step)).toBe(0);
    expect([join(), join(), join(), join()]).toEqual([2, 3, 1, 5]); // room for 2, 4, 4, 8
    expect(copied(step)).toBe(0);
    expect([join(), join(), join()]).toEqual([1, 1, 1]);
    expect([leave(3), leave(6), leave(0, 1)]).toEqual([1, 0, 2]); // 8 -> 7 -> 6 -> 4
    expect(leave()).toBe(0);
    expect(join(3)).toBe(3);
  });

  it('free room is given back, none is made beyond the most sequences, and leaving does not need any', () => {
    using model = createLarge();
    const before = device.memory.bytes;
    const one = model.stateSize * (device.precision === 'float64' ? 8 : 4);
    using batch = new StateBatch(model, 6);
    const room = () => (device.memory.bytes - before) / one;
    const leave = (count: number) => batch.keep(Array.from({ length: batch.count }, (_, row) => row >= count));
    batch.add(model.initialState(1), 5);
    expect([room(), batch.bytes / one]).toEqual([6, 6]); // not 8
    leave(3);
    expect([batch.count, room()]).toEqual([2, 6]);
    const alloc = vi.spyOn(device, 'alloc').mockImplementation(() => {
      throw new Error('memory is exhausted');
    });
    leave(1);
    expect([batch.count, room()]).toEqual([1, 6]);
    alloc.mockRestore();
    batch.add(model.initialState(1));
    leave(1);
    expect([batch.count, room()]).toEqual([1, 1]);
    leave(1);
    expect([batch.count, room()]).toEqual([0, 0]);
    expect(() => batch.state).toThrow('there is no sequence');
  });

  it('a sequence that there is no memory for leaves the batch as it was', async () => {
    using model = LanguageModel.create(config, device, 3);
    const before = device.memory.bytes;
    using batch = new StateBatch(model);
    batch.add(distinct(model, 1));
    const values = await valuesOf(batch.state);
    const bytes = device.memory.bytes;
    for (let after = 0; after < batch.state.tensors.length; after++) {
      const joining = distinct(model, 2);
      const alloc = device.alloc.bind(device);
      let left = after;
      const spy = vi.spyOn(device, 'alloc').mockImplementation((dtype, length) => {
        if (left-- === 0) throw new Error('memory is exhausted');
        return alloc(dtype, length);
      });
      expect(() => batch.add(joining)).toThrow('memory is exhausted');
      spy.mockRestore();
      expect([batch.count, device.memory.bytes]).toEqual([1, bytes]);
      expect(await valuesOf(batch.state)).toEqual(values);
    }
    expect(() => batch.take(1)).toThrow('no row 1 of 1');
    batch.dispose();
    expect(device.memory.bytes).toBe(before);
  });
});
