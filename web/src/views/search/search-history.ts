/** @file The course of a search in training: losses of both models, drawn together into few points, and measured errors. */
import { SEARCH_MODELS, type PerModel, type SearchErrors, type SearchStep } from '../../protocol-memory.js';

/** A curve has between half of it and all of it. */
const MOST_POINTS = 240;

export class SearchHistory {
  /** Number of steps so far. */
  steps = 0;
  /** Steps and mean losses of stretches of `#width` steps each. */
  readonly x: number[] = [];
  readonly losses: PerModel<number[]> = { lstm: [], slstm: [] };
  readonly errors: { readonly step: number; readonly errors: PerModel<SearchErrors> }[] = [];
  #width = 1;
  #sums: Record<'lstm' | 'slstm', number> = { lstm: 0, slstm: 0 };
  #count = 0;

  add(steps: readonly SearchStep[]): void {
    for (const { step, losses } of steps) {
      this.steps = step;
      for (const kind of SEARCH_MODELS) this.#sums[kind] += losses[kind];
      this.#count++;
      if (this.#count < this.#width) continue;
      this.x.push(step - (this.#width - 1) / 2);
      for (const kind of SEARCH_MODELS) this.losses[kind].push(this.#sums[kind] / this.#width);
      [this.#sums, this.#count] = [{ lstm: 0, slstm: 0 }, 0];
      if (this.x.length === MOST_POINTS) this.#halve();
    }
  }

  addErrors(step: number, errors: PerModel<SearchErrors>): void {
    this.errors.push({ step, errors });
    if (this.errors.length > MOST_POINTS)
      this.errors.splice(0, this.errors.length, ...this.errors.filter((_, k) => k % 2 === 1));
  }

  /** Every two points become one. */
  #halve(): void {
    for (const values of [this.x, this.losses.lstm, this.losses.slstm]) {
      const means = Array.from({ length: values.length / 2 }, (_, k) => (values[2 * k]! + values[2 * k + 1]!) / 2);
      values.splice(0, values.length, ...means);
    }
    this.#width *= 2;
  }
}
