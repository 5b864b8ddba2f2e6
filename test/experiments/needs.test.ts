/** @file What a run of a comparison tells "auto" that it needs: the kernels that it calls. */
import { expect, it, vi } from 'vitest';
import type { Device } from '../../src/device/device.js';
import type { KernelName, Kernels } from '../../src/device/kernels.js';
import type { DeviceOptions } from '../../src/device/open.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import type { RunSpec } from '../../src/experiments/run-spec.js';
import { createSequenceLearner, kernelsOfSequence } from '../../src/experiments/sequence-learner.js';
import { trainTask } from '../../src/experiments/train-task.js';
import { exampleSpec } from '../support/run-specs.js';

const opened: DeviceOptions[] = [];
vi.mock('../../src/device/open.js', async (original) => ({
  ...(await original<object>()),
  openDevice: (_: unknown, options: DeviceOptions) => {
    opened.push(options);
    throw new Error('not opened');
  },
}));

/** The reference device, and the kernels called on it. */
function recordingDevice(): { device: Device; called: Set<KernelName> } {
  const called = new Set<KernelName>();
  const reference = createReferenceDevice();
  const kernels = new Proxy(reference.kernels, {
    get(target, name: keyof Kernels) {
      called.add(name);
      return target[name];
    },
  });
  return { device: { ...reference, kernels }, called };
}

const onTask = (name: string, options: object, mixer: string): RunSpec =>
  exampleSpec({
    task: { name, label: name, options: { ...options } },
    mixers: [mixer],
    model: { dim: 16, blocks: [mixer], mlstm: { heads: 2 }, slstm: { heads: 2 } },
  });

it.each([
  onTask('parity', { maxLength: 8, validationSize: 8, testLengths: [[8, 16]], testSize: 8 }, 'slstm'),
  onTask('nearestNeighbour', { trainSize: 16, validationSize: 8, maxLength: 4 }, 'mlstm'),
  onTask('parity', { maxLength: 8, validationSize: 8, testLengths: [[8, 16]], testSize: 8 }, 'mamba'),
])('a task calls what it said: $task.name with $mixers.0', async (spec) => {
  const { device, called } = recordingDevice();
  const learner = createSequenceLearner(spec, device);
  await learner.step(0, 1e-3);
  const said = kernelsOfSequence(spec);
  expect([...said].toSorted()).toEqual([...called].toSorted());
  await learner.validate();
  expect([...called].filter((name) => !said.has(name))).toEqual([]);
});

it('both kinds of runs tell it when they open their device', async () => {
  const text = exampleSpec({ task: { name: 'text', label: 'text', options: { files: ['none.txt'] } } });
  for (const spec of [text, exampleSpec()]) {
    await expect(trainTask(spec)).rejects.toThrow('not opened');
    const needs = opened.at(-1)!.needs!();
    for (const name of ['mlstmBackward', 'slstmBackward', 'adamw'] as const) expect(needs).toContain(name);
    expect([...needs].filter((name) => /^linearCrossEntropy.*Backward$/.test(name))).toHaveLength(1);
    expect(needs).not.toContain('attentionForward');
  }
});
