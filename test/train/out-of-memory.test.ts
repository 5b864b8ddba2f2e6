/** @file A step that does not fit in memory says what is held by what, and what to set; on devices that have little. */
import fs from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import type { Device } from '../../src/device/device.js';
import { bindKernels } from '../../src/device/native/bind.js';
import type { Library } from '../../src/device/native/library.js';
import { OutOfMemoryError } from '../../src/device/out-of-memory.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import type { RunConfigInput } from '../../src/train/config.js';
import { Run } from '../../src/train/run.js';
import { cpuOrReason } from '../support/cpu.js';
import { temporaryFolder } from '../support/folders.js';

/** A device on which steps have `room` bytes once `close` was called. */
function smallDevice(room: number): { device: Device; close: () => void } {
  const device = { ...createReferenceDevice() };
  const alloc = device.alloc;
  let limit = Infinity;
  device.alloc = (dtype, length) => {
    const { bytes } = device.memory;
    if (bytes + 8 * length <= limit) return alloc(dtype, length);
    throw Object.assign(new OutOfMemoryError(`small: no memory for ${8 * length} bytes`), { held: bytes });
  };
  return { device, close: () => void (limit = device.memory.bytes + room) };
}

/** What a run says of its second step, for which there are `room` bytes. */
async function failureOf(training: RunConfigInput['training'], room = 5000): Promise<Error> {
  const folder = temporaryFolder();
  const file = path.join(folder, 'text.txt');
  fs.writeFileSync(file, 'one and two and three. '.repeat(100));
  const { device, close } = smallDevice(room);
  const config: RunConfigInput = {
    name: 'small',
    out: folder,
    data: { files: [file], tokenizer: 'bytes' },
    model: { dim: 16, blocks: ['lstm'], lstm: { heads: 1 } },
    training: { steps: 2, batchSize: 2, contextLength: 8, ...training },
  };
  using run = await Run.start(config, { device });
  const steps = run[Symbol.asyncIterator]();
  await steps.next();
  close();
  return await steps.next().then(
    () => expect.unreachable('the step had memory'),
    (error: unknown) => error as Error,
  );
}

it('says what the device said, what is held, and two settings that need less', async () => {
  const error = await failureOf({});
  expect(error).toBeInstanceOf(OutOfMemoryError);
  expect(error.cause).toBeInstanceOf(OutOfMemoryError);
  const size = String.raw`\d+(\.\d)? k?B`;
  expect(error.message).toMatch(
    new RegExp(
      String.raw`^step 2: ([\w.]+: )?small: no memory for \d+ bytes\. Held: parameters ${size}, gradients ${size}, ` +
        String.raw`moments of AdamW ${size}, activations of the step so far ${size}, states and others ${size}\. ` +
        String.raw`To need less: training\.batchSize=1 with training\.gradientAccumulation=2, for the same step; or ` +
        String.raw`training\.checkpointBlocks=true$`,
    ),
  );
});

it('counts parameters, gradients and moments', async () => {
  const { message } = await failureOf({});
  const [parameters, gradients, moments] = ['parameters', 'gradients', 'moments of AdamW'].map((what) =>
    Number(new RegExp(String.raw`${what} (\d+\.\d) kB`).exec(message)![1]),
  );
  expect(gradients).toBe(parameters);
  expect(moments).toBeCloseTo(2 * parameters!, 0);
});

it('proposes only what is not set already', async () => {
  const { message } = await failureOf({ batchSize: 1, checkpointBlocks: true }, 1000);
  expect(message).toMatch(/To need less: training\.activations=bf16; or training\.contextLength=4$/);
});

it('a status of a native library says that it is memory', () => {
  const library = (status: number) =>
    ({
      prototypes: [{ name: 'xl_fill', result: 'int', arguments: [] }],
      get: () => () => status,
      lastError: () => 'fill: a sentence',
    }) as unknown as Library;
  const fillOf = (status: number) => {
    const names = Object.keys(createReferenceDevice().kernels).filter((name) => name !== 'fill');
    const absent = Object.fromEntries(names.map((name) => [name, 'not here']));
    return bindKernels('cuda', library(status), absent).fill as unknown as () => void;
  };
  expect(fillOf(0)).not.toThrow();
  expect(fillOf(2)).toThrow(OutOfMemoryError);
  expect(fillOf(2)).toThrow('cuda: fill: a sentence');
  expect(fillOf(1)).toThrow('cuda: fill: a sentence');
  expect(fillOf(1)).not.toThrow(OutOfMemoryError);
});

const cpu = cpuOrReason();
it.skipIf(typeof cpu === 'string')('cpu says how much it held', () => {
  const device = cpu as Device;
  const some = device.alloc('float', 1000);
  try {
    device.alloc('float', 2 ** 44);
    expect.unreachable('that much memory');
  } catch (error) {
    expect(error).toBeInstanceOf(OutOfMemoryError);
    expect((error as OutOfMemoryError).held).toBe(device.memory.bytes);
  } finally {
    device.free(some);
  }
});
