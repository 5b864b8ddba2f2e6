/** @file All rows of the comparison, in the order of the report. */
import type { Row } from './row.js';
import { decodingRows } from './rows/decode.js';
import { mlpRows } from './rows/mlp.js';
import { recurrentRows } from './rows/recurrent.js';
import { trainingRows } from './rows/train.js';

export const ROWS: readonly Row[] = [...trainingRows, ...mlpRows, ...decodingRows, ...recurrentRows];
