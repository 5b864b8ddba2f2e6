/** @file All rows of the comparison, in the order of the report. */
import type { Row } from './row.js';
import { decodingRows } from './rows/decode.js';
import { matmulRows } from './rows/matmul.js';
import { mlpRows } from './rows/mlp.js';
import { recurrentRows } from './rows/recurrent.js';
import { startRow } from './rows/start.js';
import { tokenizerRows, type TextSource } from './rows/tokenizer.js';
import { trainingRows } from './rows/train.js';

/** @param source  of the text that tokenizers are given */
export const rowsFor = (source: TextSource): readonly Row[] => [
  ...trainingRows,
  ...mlpRows,
  ...decodingRows,
  ...recurrentRows,
  ...matmulRows,
  ...tokenizerRows(source),
  startRow(source),
];
