/**
 * @file The recordings of a native library, which cpu and cuda have in common: kernels that are kept with their arguments
 * and run again with one call.
 */
import type { Recording } from '../device.js';
import type { Library } from './library.js';

/** The graphs that are alive: what they hold is taken back where memory is short. */
export class Recordings {
  readonly #library: Library;
  readonly #alive = new Set<Recording>();
  #isRecording = false;

  constructor(library: Library) {
    this.#library = library;
  }

  /** Records the kernels that `run` enqueues. */
  record(run: () => void): Recording {
    const graph = this.#capture(run);
    let isDestroyed = false;
    const recording: Recording = {
      launch: () => this.#library.call('xl_graph_launch', graph),
      destroy: () => {
        if (isDestroyed) return;
        isDestroyed = true;
        this.#alive.delete(recording);
        this.#library.call('xl_graph_destroy', graph);
      },
      get isDestroyed() {
        return isDestroyed;
      },
    };
    this.#alive.add(recording);
    return recording;
  }

  #capture(run: () => void): number {
    const handle = new Float64Array(1);
    this.#library.call('xl_capture_begin');
    this.#isRecording = true;
    try {
      run();
    } catch (error) {
      // What was recorded so far is of no use; the first error is the one to tell.
      if (this.#library.get('xl_capture_end')(handle) === 0) this.#library.call('xl_graph_destroy', handle[0]);
      throw error;
    } finally {
      this.#isRecording = false;
    }
    this.#library.call('xl_capture_end', handle);
    return handle[0]!;
  }

  /** Destroys all graphs. @returns whether there was any, and none is being recorded */
  takeBack(): boolean {
    if (this.#isRecording || this.#alive.size === 0) return false;
    for (const recording of this.#alive) recording.destroy();
    return true;
  }
}
