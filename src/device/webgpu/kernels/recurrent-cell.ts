/** @file What the programs of a recurrence are made of: a cell, sLSTM or LSTM, as pieces of WGSL. It runs nothing. */
import type { Constants, Program } from '../program.js';

/**
 * A cell as WGSL, for place j of a head. A program declares what it works on: arrays c, n and m of the state, and `pre` of the
 * four gates, UNITS apart.
 */
export interface Cell {
  readonly name: 'slstm' | 'lstm';
  /** States [S,B,NH,DH]; h is the last. */
  readonly states: number;
  /** What each state is before the first step. */
  readonly empty: readonly number[];
  /** `fn begin(j, at, plane)`: state of place j from stateIn, where `at` is its place in a plane. */
  readonly begin: string;
  /** `fn forget(j)`: the state as a document begins. */
  readonly forget: string;
  /** `fn step(j, at) -> f32`: the state after a step from `pre`, saved at `at` if wanted; returns h. */
  readonly step: string;
  /** `fn end(j, at, plane)`: the state to stateOut. */
  readonly end: string;
  /** `fn back(j, at, before, dh, isReset)`: gradients of the gates to `dpre`, those of the state before. */
  readonly back: string;
  /** `fn begin_back(j, at, plane)` and `fn end_back(j, at, plane)`: the carried gradients from dstateOut, to dstateIn. */
  readonly carry: string;
}

/** A program for each direction, over a whole sequence, and how they are run. */
export interface RecurrentForm {
  readonly forward: Program;
  readonly backward: Program;
  readonly groups: number;
  readonly constants: Constants;
}
