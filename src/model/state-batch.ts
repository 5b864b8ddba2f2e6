/**
 * @file The states of sequences that are decoded together, which join and leave between steps. Which axis of a tensor counts
 * the sequences is the mixer's to say (`StateSpec.batchAxis`). It does not run the model.
 */
import type { DeviceBuffer } from '../device/kernels.js';
import { scope } from '../tensor/scope.js';
import { size } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';
import type { LanguageModel } from './language-model.js';
import { ModelState } from './state.js';

/** A tensor of a state. */
interface Slot {
  readonly block: number;
  readonly name: string;
  /** The axis that counts the sequences. */
  readonly axis: number;
  /** Of exactly as many sequences as there are. */
  readonly tensor: Tensor;
  /** What `tensor` is the beginning of: its own memory, or some with room for more sequences. */
  readonly memory: DeviceBuffer;
  /** Whether a step leaves it where it is; until the first step it is taken to. */
  readonly inPlace: boolean;
}

/**
 * A state whose rows are sequences, packed as rows 0..count-1.
 *
 * A tensor that steps update in place and whose rows lie one behind the other has room for a power of two of sequences: one
 * that joins is copied alone. All others (the cells of sLSTM, the windows of convolutions: small beside the memory of an
 * mLSTM) are copied when one joins. Where a sequence leaves, the last one moves, within the memory that is there; at a
 * quarter of the room, the rest is given back. One that was always alone is never copied.
 */
export class StateBatch {
  readonly #model: LanguageModel;
  readonly #most: number;
  #slots: readonly Slot[] = [];
  #state: ModelState | null = null;
  #count = 0;

  /** @param most  sequences that there will be at the most: room beyond is not made */
  constructor(model: LanguageModel, most = Infinity) {
    this.#model = model;
    this.#most = most;
  }

  /** Sequences. */
  get count(): number {
    return this.#count;
  }

  /** Bytes on the device, free room included. */
  get bytes(): number {
    const { precision } = this.#model.device;
    return this.#slots.reduce((sum, { memory }) => sum + memory.length * (precision === 'float64' ? 8 : 4), 0);
  }

  /** Of exactly `count` sequences. It stays the batch's and lives until the batch changes. @throws Error where there are none. */
  get state(): ModelState {
    if (this.#state === null) throw new Error('StateBatch: there is no sequence; add one before the step');
    return this.#state;
  }

  /** Goes on with what a step in place made of `state`. */
  advance(next: ModelState): void {
    this.#become(
      this.#slots.map((slot) => {
        const tensor = next.blocks[slot.block]![slot.name]!;
        if (tensor.buffer === slot.tensor.buffer) return { ...slot, tensor };
        return { ...slot, tensor, memory: tensor.buffer, inPlace: false };
      }),
      this.#count,
    );
  }

  /**
   * Appends `times` sequences that begin with the state of one, which the batch takes over.
   * @throws Error when memory is exhausted: the state is then freed, and the batch is as it was.
   */
  add(state: ModelState, times = 1): void {
    const joining = slotsOf(this.#model, state);
    if (this.#count === 0 && times === 1) return this.#become(joining, 1);
    try {
      this.#become(this.#grown(joining, times), this.#count + times);
    } finally {
      state.dispose();
    }
  }

  #grown(joining: readonly Slot[], times: number): Slot[] {
    const { device } = this.#model;
    const before = this.#count;
    const count = before + times;
    const made: DeviceBuffer[] = [];
    try {
      return joining.map((one, k) => {
        const { axis } = one;
        const old = this.#slots[k];
        const { inPlace, memory: given } = old ?? { inPlace: true, memory: null };
        const width = one.tensor.size;
        const fits = given !== null && axis === 0 && given.length >= count * width;
        const memory = fits
          ? given
          : device.alloc('float', width * (axis === 0 && inPlace ? this.#room(count) : count));
        if (!fits) made.push(memory);
        const tensor = firstRows(memory, one, count);
        if (old !== undefined && !fits) copyRows(tensor, 0, old.tensor, 0, axis, before);
        for (let row = before; row < count; row++) copyRows(tensor, row, one.tensor, 0, axis, 1);
        return { ...one, tensor, memory, inPlace };
      });
    } catch (error) {
      for (const memory of made) device.free(memory);
      throw error;
    }
  }

  #room(count: number): number {
    return Math.max(count, Math.min(2 ** Math.ceil(Math.log2(count)), this.#most));
  }

  /**
   * Takes sequences out. Needs no memory.
   * @param stays  of each row, whether it stays
   * @returns      which row each row now was before
   */
  keep(stays: readonly boolean[]): number[] {
    const count = stays.filter(Boolean).length;
    const moving = [...stays.keys()].filter((row) => row >= count && stays[row]);
    const order = Array.from({ length: count }, (_, row) => (stays[row] ? row : moving.pop()!));
    if (count === 0) this.dispose();
    else if (count < this.#count) {
      const packed = this.#slots.map((slot) => packRows(slot, order));
      this.#become(
        packed.map((slot) => this.#shrunk(slot, count)),
        count,
      );
    }
    return order;
  }

  /** Gives back room where three quarters are free: a sequence that comes and goes does not make it shrink and grow. */
  #shrunk(slot: Slot, count: number): Slot {
    const { tensor, memory: before } = slot;
    if (before.length < 4 * tensor.size) return slot;
    const { device } = this.#model;
    let memory: DeviceBuffer;
    try {
      memory = device.alloc('float', (tensor.size / count) * this.#room(count));
    } catch {
      return slot; // no memory to copy to: it keeps the room
    }
    const smaller = firstRows(memory, slot, count);
    device.kernels.copy(smaller.buffer, tensor.buffer, tensor.size);
    return { ...slot, tensor: smaller, memory };
  }

  /** A copy of one sequence as a state of its own. It belongs to the scope, or to the caller. */
  take(row: number): ModelState {
    if (!(row >= 0 && row < this.#count)) throw new RangeError(`StateBatch: no row ${row} of ${this.#count}`);
    const { device } = this.#model;
    return scope(device, {}, () => {
      const copy = this.#model.initialState(1);
      slotsOf(this.#model, copy).forEach(({ tensor, axis }, k) => {
        copyRows(tensor, 0, this.#slots[k]!.tensor, row, axis, 1);
      });
      return copy;
    });
  }

  /** Takes over other tensors, and frees the memory that none of them uses. */
  #become(slots: readonly Slot[], count: number): void {
    const kept = new Set(slots.map(({ memory }) => memory));
    for (const { memory } of this.#slots) if (!kept.has(memory)) this.#model.device.free(memory);
    this.#slots = slots;
    this.#count = count;
    this.#state = count === 0 ? null : stateOf(this.#model, slots);
  }

  /** Takes all sequences out. */
  dispose(): void {
    this.#become([], 0);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

const slotsOf = (model: LanguageModel, state: ModelState): Slot[] =>
  model.backbone.parts.flatMap((part, block) =>
    Object.entries(part.stateSpecs(1)).map(([name, { batchAxis: axis }]) => {
      const tensor = state.blocks[block]![name]!;
      return { block, name, axis, tensor, memory: tensor.buffer, inPlace: true };
    }),
  );

function stateOf({ backbone }: LanguageModel, slots: readonly Slot[]): ModelState {
  const tensors = backbone.parts.map((): Record<string, Tensor> => ({}));
  for (const { block, name, tensor } of slots) tensors[block]![name] = tensor;
  return new ModelState(tensors);
}

/** The tensors that `firstRows` made, by their memory and number of sequences. */
const views = new WeakMap<DeviceBuffer, Map<number, Tensor>>();

/** The tensor of a slot, with `count` sequences, at the beginning of `memory`: the same one each time. */
function firstRows(memory: DeviceBuffer, { axis, tensor: { device, shape } }: Slot, count: number): Tensor {
  const known = views.get(memory) ?? new Map<number, Tensor>();
  views.set(memory, known);
  let tensor = known.get(count);
  if (tensor === undefined) {
    const sized = shape.with(axis, count);
    tensor = new Tensor(device, sized, device.view(memory, 0, size(sized)));
    known.set(count, tensor);
  }
  return tensor;
}

/** Copies sequences from row `from` on to rows from `into` on: one piece per index of the axes before that of the batch. */
function copyRows(target: Tensor, into: number, source: Tensor, from: number, axis: number, count: number): void {
  const { device } = target;
  const outer = size(target.shape.slice(0, axis));
  const inner = size(target.shape.slice(axis + 1));
  for (let o = 0; o < outer; o++) {
    const y = device.view(target.buffer, (o * target.extent(axis) + into) * inner, count * inner);
    const x = device.view(source.buffer, (o * source.extent(axis) + from) * inner, count * inner);
    device.kernels.copy(y, x, count * inner);
  }
}

/**
 * Row k becomes row order[k], which is not before it: from the beginning on, no piece is overwritten that is still to be
 * read, and each lies where it was or apart from where it goes.
 */
function packRows(slot: Slot, order: readonly number[]): Slot {
  const { axis, tensor: source } = slot;
  const { device } = source;
  const outer = size(source.shape.slice(0, axis));
  const inner = size(source.shape.slice(axis + 1));
  for (let o = 0; o < outer; o++) {
    order.forEach((from, into) => {
      const [to, at] = [o * order.length + into, o * source.extent(axis) + from];
      if (to === at) return;
      const y = device.view(source.buffer, to * inner, inner);
      device.kernels.copy(y, device.view(source.buffer, at * inner, inner), inner);
    });
  }
  return { ...slot, tensor: firstRows(slot.memory, slot, order.length) };
}
