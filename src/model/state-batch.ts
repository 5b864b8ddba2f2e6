/**
 * @file States of single sequences and of batches: copies of one into the other. Which axis of a tensor counts the sequences
 * is the mixer's to say (`StateSpec.batchAxis`).
 */
import type { LanguageModel } from './language-model.js';
import type { ModelState } from './state.js';

/** One sequence of a state. */
export interface StateRow {
  readonly state: ModelState;
  readonly row: number;
}

/** Copies one sequence of a state onto another, of the same model. */
export function copyRow(model: LanguageModel, to: StateRow, from: StateRow): void {
  const { device } = model;
  model.blocks.forEach(({ mixer }, k) => {
    for (const [name, { batchAxis }] of Object.entries(mixer.stateSpecs(1))) {
      const target = to.state.blocks[k]![name]!;
      const source = from.state.blocks[k]![name]!;
      const outer = target.shape.slice(0, batchAxis).reduce((a, b) => a * b, 1);
      const inner = target.shape.slice(batchAxis + 1).reduce((a, b) => a * b, 1);
      for (let o = 0; o < outer; o++) {
        const into = device.view(target.buffer, (o * target.extent(batchAxis) + to.row) * inner, inner);
        const out = device.view(source.buffer, (o * source.extent(batchAxis) + from.row) * inner, inner);
        device.kernels.copy(into, out, inner);
      }
    }
  });
}

/** A state of as many sequences as there are rows, copied from them. It belongs to the scope, or to the caller. */
export function stackRows(model: LanguageModel, rows: readonly StateRow[]): ModelState {
  const state = model.initialState(rows.length);
  rows.forEach((from, row) => copyRow(model, { state, row }, from));
  return state;
}

/** A copy of one sequence as a state of its own. It belongs to the scope, or to the caller. */
export const takeRow = (model: LanguageModel, from: StateRow): ModelState => stackRows(model, [from]);
