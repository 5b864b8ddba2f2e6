/**
 * @file Published perplexities of language models: 15B tokens (tables 1, 2 and 8), 300B tokens (tables 3 and 4), and length
 * extrapolation (figure 7), all of arXiv 2405.04517 v2.
 */
import { rows, type PublishedColumn, type PublishedTable } from './table.js';

const PERPLEXITY: PublishedColumn = { title: 'perplexity', beside: { task: 'text', measure: 'perplexity' } };
const SIZE: PublishedColumn = { title: 'parameters in M' };
const SETTINGS_15B = 'SlimPajama, 15B tokens, about 400 M parameters, context 2048, GPT-2 tokens, validation set';

/** Version 2 of the paper. The first (May 2024) had RWKV-5 16.53, RWKV-6 17.40, HGRN 21.83, GLA 19.56, HGRN2 16.77. */
export const table1: PublishedTable = {
  id: 'table-1',
  title: 'Language models of one size',
  source: 'arXiv 2405.04517 v2, table 1',
  settings: SETTINGS_15B,
  certainty: 'P',
  better: 'lower',
  columns: [SIZE, PERPLEXITY],
  rows: rows(
    ['GPT-3', 356, 14.26],
    ['Llama', 407, 14.25],
    ['H3', 420, 18.23],
    ['Mamba', 423, 13.7],
    ['Hyena', 435, 17.59],
    ['RWKV-4', 430, 15.62],
    ['RWKV-5', 456, 14.25],
    ['RWKV-6', 442, 15.03],
    ['RetNet', 431, 16.23],
    ['HGRN', 411, 17.59],
    ['GLA', 412, 16.15],
    ['HGRN2', 411, 14.32],
    ['xLSTM[1:0]', 409, 13.43],
    ['xLSTM[7:1]', 408, 13.48],
  ),
};

/** The models carry the names that the experiment `ablations` gives them. */
export const table2Components: PublishedTable = {
  id: 'table-2-components',
  title: 'From LSTM to xLSTM',
  source: 'arXiv 2405.04517 v2, table 2, top',
  settings: SETTINGS_15B,
  certainty: 'P',
  better: 'lower',
  least: 3,
  columns: [SIZE, PERPLEXITY],
  rows: rows(
    ['LSTM', 607.8, 2417.86],
    ['LSTM + residual backbone', 506.1, 35.46],
    ['LSTM + up-projection backbone', 505.9, 26.01],
    ['xLSTM[0:1]', 427.3, 17.7],
    ['xLSTM[7:1]', 408.4, 13.48],
  ),
};

export const table2Gates: PublishedTable = {
  id: 'table-2-gates',
  title: 'What of the gates of xLSTM[1:0] is learned',
  source: 'arXiv 2405.04517 v2, table 2, bottom',
  settings: `${SETTINGS_15B}; forget gate sigmoid with initial bias 3 to 6, input gate exponential`,
  certainty: 'P',
  better: 'lower',
  least: 3,
  columns: [PERPLEXITY],
  rows: rows(
    ['no gates', null],
    ['gates not learned', 13.95],
    ['forget gate learned', 13.58],
    ['input gate learned', 13.69],
    ['forget bias learned', 13.76],
    ['forget and input bias learned', 13.73],
    ['forget gate and input bias learned', 13.55],
    ['both gates learned', 13.43],
  ),
};

export const table8: PublishedTable = {
  id: 'table-8',
  title: 'Block variants of xLSTM[1:0]',
  source: 'arXiv 2405.04517 v2, table 8',
  settings: SETTINGS_15B,
  certainty: 'P',
  better: 'lower',
  columns: [SIZE, PERPLEXITY],
  rows: rows(
    ['post-up-projection', 430.4, 13.9],
    ['pre-up-projection without conv', 408.8, 15.41],
    ['pre-up-projection with conv', 409.3, 13.43],
  ),
};

const DOWNSTREAM = ['LAMBADA perplexity', 'LAMBADA', 'HellaSwag', 'PIQA', 'ARC-E', 'ARC-C', 'WinoGrande', 'average'];

/** Table 3 has one part per size; accuracies in per cent. */
export const table3: PublishedTable = {
  id: 'table-3',
  title: 'Language models of four sizes at 300B tokens',
  source: 'arXiv 2405.04517 v2, table 3',
  settings: 'SlimPajama, 300B tokens, context 2048, validation perplexity; downstream tasks without examples',
  certainty: 'P',
  better: 'lower',
  columns: [SIZE, { title: 'perplexity' }, ...DOWNSTREAM.map((title) => ({ title }))],
  rows: rows(
    ['RWKV-4 125M', 169.4, 16.66, 54.72, 23.77, 34.03, 66.0, 47.94, 24.06, 50.91, 41.12],
    ['Llama 125M', 162.2, 15.89, 39.21, 31.54, 34.09, 65.45, 45.33, 23.63, 50.67, 41.78],
    ['Mamba 125M', 167.8, 15.08, 27.76, 34.14, 36.47, 66.76, 48.86, 24.4, 51.14, 43.63],
    ['xLSTM[1:0] 125M', 163.8, 14.63, 25.98, 36.52, 36.74, 65.61, 47.81, 24.83, 51.85, 43.89],
    ['xLSTM[7:1] 125M', 163.7, 14.6, 26.59, 36.08, 36.75, 66.87, 48.32, 25.26, 51.7, 44.16],
    ['RWKV-4 350M', 430.5, 12.62, 21.57, 36.62, 42.47, 69.42, 54.46, 25.43, 51.22, 46.6],
    ['Llama 350M', 406.6, 12.19, 15.73, 44.19, 44.45, 69.15, 52.23, 26.28, 53.59, 48.32],
    ['Mamba 350M', 423.1, 11.64, 12.83, 46.24, 47.55, 69.7, 55.47, 27.56, 54.3, 50.14],
    ['xLSTM[1:0] 350M', 409.3, 11.31, 11.49, 49.33, 48.06, 69.59, 55.72, 26.62, 54.38, 50.62],
    ['xLSTM[7:1] 350M', 408.4, 11.37, 12.11, 47.74, 47.89, 71.16, 56.61, 27.82, 53.28, 50.75],
    ['RWKV-4 760M', 891.0, 10.55, 10.98, 47.43, 52.29, 72.69, 58.84, 28.84, 55.41, 52.58],
    ['Llama 760M', 834.1, 10.6, 9.9, 51.41, 52.16, 70.95, 56.48, 28.75, 56.67, 52.74],
    ['Mamba 760M', 870.5, 10.24, 9.24, 50.84, 53.97, 71.16, 60.44, 29.78, 56.99, 53.86],
    ['xLSTM[1:0] 760M', 840.4, 9.86, 8.09, 54.78, 55.72, 72.69, 62.75, 32.59, 58.17, 56.12],
    ['xLSTM[7:1] 760M', 839.7, 9.91, 8.07, 55.27, 56.12, 72.74, 61.36, 29.61, 56.43, 55.26],
    ['RWKV-4 1.3B', 1515.2, 9.83, 9.84, 49.78, 56.2, 74.7, 61.83, 30.63, 55.56, 54.78],
    ['Llama 1.3B', 1420.4, 9.44, 7.23, 57.44, 57.81, 73.12, 62.79, 31.74, 59.04, 56.99],
    ['Mamba 1.3B', 1475.3, 9.14, 7.41, 55.64, 60.45, 74.43, 66.12, 33.7, 60.14, 58.41],
    ['xLSTM[1:0] 1.3B', 1422.6, 8.89, 6.86, 57.83, 60.91, 74.59, 64.31, 32.59, 60.62, 58.48],
    ['xLSTM[7:1] 1.3B', 1420.1, 9.0, 7.04, 56.69, 60.26, 74.92, 65.11, 32.34, 59.27, 58.1],
  ),
};

export const table4: PublishedTable = {
  id: 'table-4',
  title: 'Perplexity over text domains (PALOMA)',
  source: 'arXiv 2405.04517 v2, table 4',
  settings: 'average over 16 sources at 300B tokens, windows of 2048',
  certainty: 'P',
  better: 'lower',
  columns: ['125M', '350M', '760M', '1.3B'].map((title) => ({ title })),
  rows: rows(
    ['RWKV-4', 23.74, 17.55, 14.08, 13.18],
    ['Llama', 20.92, 15.67, 13.49, 12.04],
    ['Mamba', 20.05, 15.19, 13.3, 11.84],
    ['xLSTM[1:0]', 19.68, 14.88, 12.76, 11.58],
    ['xLSTM[7:1]', 19.44, 14.88, 12.8, 11.69],
  ),
};

export const figure7: PublishedTable = {
  id: 'figure-7',
  title: 'Perplexity beyond the training length',
  source: 'arXiv 2405.04517 v2, figure 7',
  settings: '1.3B parameters, 300B tokens, trained at context 2048, tested at 16384',
  certainty: 'M',
  better: 'lower',
  columns: [{ title: 'perplexity at 16384' }],
  rows: rows(['Llama', 337.83], ['Mamba', 14.0], ['RWKV-4', 13.75], ['xLSTM[7:1]', 8.92], ['xLSTM[1:0]', 9.01]),
};
