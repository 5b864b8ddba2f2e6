/**
 * @file Steps of decoding. Where the device records kernels, a step is recorded once per number of sequences and then
 * replayed: its state stays where it is, tokens come from and logits go to the same memory each time.
 */
import type { FloatArray, Recording } from '../device/device.js';
import type { DeviceBuffer } from '../device/kernels.js';
import type { LanguageModel } from '../model/language-model.js';
import type { ModelState } from '../model/state.js';
import { scope } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';

export interface Step {
  /** [B,V]. */
  readonly logits: Promise<FloatArray>;
  /** The next state, which may hold tensors of the one before. */
  readonly state: ModelState;
}

interface Recorded {
  readonly recording: Recording;
  readonly tokens: Tensor;
  readonly logits: Tensor;
  readonly state: readonly DeviceBuffer[];
}

/** Floats of the state of a sequence that a recorded step may copy: small beside the calls that it spares. */
const MOST_MOVED = 1 << 16;

export class Stepper {
  readonly #model: LanguageModel;
  /** By the number of sequences. */
  readonly #recorded = new Map<number, Recorded>();
  /** The state of the step before; a second step of the same is worth a recording. */
  #before: readonly DeviceBuffer[] = [];
  #records: boolean;

  constructor(model: LanguageModel) {
    this.#model = model;
    this.#records = model.device.recorder !== undefined;
  }

  /** One token of each sequence. The state given may be overwritten. */
  step(tokens: Int32Array, state: ModelState): Step {
    const { device } = this.#model;
    if (!this.#records) {
      const made = scope(device, {}, () =>
        this.#model.step(Tensor.from(device, tokens, [tokens.length]), state, { inPlace: true }),
      );
      return { logits: made.logits.take(), state: made.state };
    }
    const buffers = state.tensors.map(({ buffer }) => buffer);
    const known = this.#recordingOf(tokens.length, buffers) ?? this.#record(tokens.length, state, buffers);
    this.#before = buffers;
    if (known === null) {
      const logits = scope(device, {}, () => this.#stay(Tensor.from(device, tokens, [tokens.length]), state));
      return { logits: logits.take(), state };
    }
    device.write(known.tokens.buffer, tokens);
    known.recording.launch();
    return { logits: known.logits.data(), state };
  }

  /**
   * A step whose state stays in its memory.
   * @returns logits [B,V]
   * @throws RangeError when more than `most` floats of it are made elsewhere and have to be copied back.
   */
  #stay(tokens: Tensor, state: ModelState, most = Infinity): Tensor {
    const { logits, state: next } = this.#model.step(tokens, state, { inPlace: true });
    const before = state.tensors;
    let moved = 0;
    next.tensors.forEach(({ device, buffer, size }, k) => {
      const to = before[k]!.buffer;
      if (to === buffer) return;
      moved += size;
      if (moved > most) throw new RangeError(`Stepper: ${moved} floats of a state do not stay where they are`);
      device.kernels.copy(to, buffer, size);
    });
    return logits;
  }

  #recordingOf(B: number, buffers: readonly DeviceBuffer[]): Recorded | null {
    const known = this.#recorded.get(B);
    if (known === undefined) return null;
    if (!known.recording.isDestroyed && areSame(known.state, buffers)) return known;
    this.#forget(B);
    return null;
  }

  /** Null where it is not worth it, cannot be recorded, or does not fit in memory. */
  #record(B: number, state: ModelState, buffers: readonly DeviceBuffer[]): Recorded | null {
    const { device } = this.#model;
    if (!areSame(this.#before, buffers)) return null;
    const tokens = new Tensor(device, [B], device.alloc('int32', B));
    let logits: Tensor | null = null;
    try {
      const recording = device.recorder!.record(() => {
        logits = scope(device, {}, () => this.#stay(tokens, state, MOST_MOVED * B));
      });
      const made = { recording, tokens, logits: logits!, state: buffers };
      this.#recorded.set(B, made);
      return made;
    } catch {
      // An error of the step itself comes again without the recording.
      tokens.dispose();
      this.#records = false;
      return null;
    }
  }

  #forget(B: number): void {
    const { recording, tokens, logits } = this.#recorded.get(B)!;
    this.#recorded.delete(B);
    recording.destroy();
    tokens.dispose();
    logits.dispose();
  }

  dispose(): void {
    for (const B of this.#recorded.keys()) this.#forget(B);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

const areSame = (a: readonly DeviceBuffer[], b: readonly DeviceBuffer[]): boolean =>
  a.length === b.length && a.every((buffer, k) => buffer === b[k]);
