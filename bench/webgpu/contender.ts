/** @file What a library has to do in the bench of WebGPU: be opened, take a case, repeat it, show what came out. */
import { lstmInputs, matmulInputs, mlpInputs } from './cases.js';
import type { Case, LstmInputs, MatmulInputs, MlpInputs } from './cases.js';

/** A case whose inputs lie on the GPU. */
export interface Prepared {
  /** Runs it so many times, one after the other, and waits for the last: products together, each step for its loss. */
  calls(count: number): Promise<unknown>;
  /** The product [M,N]; the losses of the first LOSSES steps, which it takes. */
  outputs(): Promise<ArrayLike<number>>;
  dispose(): void;
}

/** A module under `page/` exports `open`, which makes one. */
export interface Contender {
  /** What it says of its adapter, if it does. */
  readonly adapter?: string;
  matmul(inputs: MatmulInputs): Promise<Prepared>;
  /** Absent where it cannot train. */
  mlp?(inputs: MlpInputs): Promise<Prepared>;
  lstm?(inputs: LstmInputs): Promise<Prepared>;
}

export const LOSSES = 3;

/** Null where the contender cannot do such a case. */
export async function prepare(contender: Contender, { kind, sizes }: Case): Promise<Prepared | null> {
  if (kind === 'matmul') return contender.matmul(matmulInputs(sizes));
  if (kind === 'mlp') return (await contender.mlp?.(mlpInputs(sizes))) ?? null;
  return (await contender.lstm?.(lstmInputs(sizes))) ?? null;
}
