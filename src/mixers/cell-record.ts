/**
 * @file What the cell of a mixer was given and gave over a stretch of a sequence: tensors of the pass, for those who study
 * it. It computes nothing; `model/trace` does.
 */
import type { MlstmInputs, MlstmOptions, MlstmState } from '../ops/mlstm.js';
import type { Gates } from '../ops/recurrent.js';
import type { Tensor } from '../tensor/tensor.js';

export interface MlstmRecord {
  readonly kind: 'mlstm';
  readonly inputs: MlstmInputs;
  readonly options: Required<Pick<MlstmOptions, 'inputGate' | 'normalize' | 'eps'>>;
  /** What came before; null at the start of a text. */
  readonly state: MlstmState | null;
  /** [B,T,NH*DV] */
  readonly h: Tensor;
}

export interface SlstmRecord {
  readonly kind: 'slstm';
  /** Before recurrent part and bias. */
  readonly gates: Gates;
  /** [NH,4*DH,DH] */
  readonly recurrent: Tensor;
  /** [4*NH*DH] */
  readonly bias: Tensor;
  /** c n m h [4,B,NH*DH]; null at the start of a text. */
  readonly state: Tensor | null;
  /** [B,T,NH*DH] */
  readonly h: Tensor;
}

/** Tensors that die with the pass: who wants them reads them at once. */
export type CellRecord = MlstmRecord | SlstmRecord;

export type CellObserver = (record: CellRecord) => void;
