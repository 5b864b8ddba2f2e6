/**
 * @file What a trainer needs to go on, on the host: parameters, moments, carried state. Taken without waiting for the device,
 * put back on any device, and as the bytes of a file. When one is due is not decided here; see `steady-trainer.ts`.
 */
import type { FloatArray } from '../device/device.js';
import type { DeviceBuffer } from '../device/kernels.js';
import type { MixerState } from '../mixers/mixer.js';
import { parseSafetensors, safetensorsBytes } from '../model/safetensors-bytes.js';
import { SafetensorsError } from '../model/safetensors-header.js';
import { ModelState } from '../model/state.js';
import type { TensorArray, TensorToWrite } from '../model/tensor-array.js';
import { Tensor } from '../tensor/tensor.js';
import type { Trainer } from './trainer.js';

interface HostTensor {
  readonly shape: readonly number[];
  readonly data: FloatArray;
}

export interface TrainerSnapshot {
  /** Number of the step that comes next. */
  readonly step: number;
  /** Updates made: steps less those that were skipped. */
  readonly updates: number;
  /** All parameters and their moments, flat, as `Parameters` lays them out. */
  readonly values: FloatArray;
  readonly m: FloatArray;
  readonly v: FloatArray;
  /** The state carried between steps, by block; null where none is. */
  readonly state: readonly Readonly<Record<string, HostTensor>>[] | null;
}

/**
 * A copy of where a trainer stands now. All copies are enqueued before it returns, so training may go on at once: what it
 * enqueues then does not get into the snapshot.
 * @param step  number of the step that comes next
 */
export function takeSnapshot(trainer: Trainer, step: number): Promise<TrainerSnapshot> {
  const { model, optimizer, state } = trainer;
  const { device, parameters } = model;
  const updates = optimizer.step;
  const read = (buffer: DeviceBuffer) => device.read(buffer) as Promise<FloatArray>;
  const flat = Promise.all([read(parameters.values), read(optimizer.m), read(optimizer.v)]);
  const carried = state === null ? null : Promise.all(state.blocks.map(copyOf));
  return Promise.all([flat, carried]).then(([[values, m, v], state]) => ({ step, updates, values, m, v, state }));
}

async function copyOf(block: MixerState): Promise<Record<string, HostTensor>> {
  const copies = Object.entries(block).map(async ([name, tensor]) => {
    return [name, { shape: tensor.shape, data: await tensor.data() }] as const;
  });
  return Object.fromEntries(await Promise.all(copies));
}

/** Puts a snapshot into a trainer whose model has the same configuration. @throws RangeError when it does not fit. */
export function restoreSnapshot(trainer: Trainer, { updates, values, m, v, state }: TrainerSnapshot): void {
  const { device, parameters } = trainer.model;
  device.write(parameters.values, values);
  parameters.refreshBf16();
  trainer.optimizer.restore(updates, m, v);
  const entry = ([name, { shape, data }]: [string, HostTensor]) => [name, Tensor.from(device, data, shape)] as const;
  trainer.state =
    state === null ? null : new ModelState(state.map((block) => Object.fromEntries(Object.entries(block).map(entry))));
}

const FORMAT = 'xlstm snapshot';

/** A snapshot as a safetensors file. */
export function snapshotBytes({
  step,
  updates,
  values,
  m,
  v,
  state,
}: TrainerSnapshot): Promise<Uint8Array<ArrayBuffer>> {
  const tensor = (name: string, data: FloatArray, shape: readonly number[] = [data.length]): TensorToWrite => {
    return { name, dtype: data instanceof Float64Array ? 'F64' : 'F32', shape, data: data as TensorArray };
  };
  const carried = (state ?? []).flatMap((block, k) =>
    Object.entries(block).map(([name, { shape, data }]) => tensor(`state.${k}.${name}`, data, shape)),
  );
  const metadata = {
    format: FORMAT,
    step: String(step),
    updates: String(updates),
    ...(state !== null && { blocks: String(state.length) }),
  };
  return safetensorsBytes([tensor('values', values), tensor('m', m), tensor('v', v), ...carried], metadata);
}

/** The snapshot of such a file. @throws SafetensorsError when it is damaged, or holds something else. */
export function snapshotFromBytes(bytes: Uint8Array): TrainerSnapshot {
  const { metadata, tensors } = parseSafetensors(bytes, 'snapshot');
  if (metadata['format'] !== FORMAT) throw new SafetensorsError('snapshot: this file holds something else');
  const flat = (name: string) => tensors.get(name)!.data as FloatArray;
  const blocks = metadata['blocks'] === undefined ? null : Number(metadata['blocks']);
  const blockState = (k: number): Record<string, HostTensor> => {
    const prefix = `state.${k}.`;
    const mine = [...tensors].filter(([name]) => name.startsWith(prefix));
    return Object.fromEntries(
      mine.map(([name, { shape, data }]) => [name.slice(prefix.length), { shape, data: data as FloatArray }]),
    );
  };
  return {
    step: Number(metadata['step']),
    updates: Number(metadata['updates']),
    ...{ values: flat('values'), m: flat('m'), v: flat('v') },
    state: blocks === null ? null : Array.from({ length: blocks }, (_, k) => blockState(k)),
  };
}
