/** @file Published accuracies on Long Range Arena: arXiv 2405.04517, table 6, and those of the models' own papers. */
import { rows, type PublishedColumn, type PublishedTable } from './table.js';

const column = (title: string, task: string, taskLabel?: string): PublishedColumn => ({
  title,
  beside: { task, measure: 'accuracy', ...(taskLabel === undefined ? {} : { taskLabel }) },
});

export const table6: PublishedTable = {
  id: 'table-6',
  title: 'Long Range Arena',
  source: 'arXiv 2405.04517 v2, table 6',
  settings:
    '6 to 8 blocks, width 128 to 512, 80 k to 500 k steps, best of 3 learning rates and 2 schedules; X: not learned',
  certainty: 'P',
  better: 'higher',
  columns: [
    column('Retrieval', 'retrieval'),
    column('ListOps', 'listops'),
    column('Pathfinder', 'pathfinder'),
    column('G-Image', 'image', 'G-Image'),
    column('RGB-Image', 'image', 'RGB-Image'),
    { title: 'mean rank' },
  ],
  rows: rows(
    ['random', 0.5, 0.1, 0.5, 0.1, 0.1, null],
    ['Llama', 0.845, 0.379, 0.887, 0.541, 0.629, 5.2],
    ['Mamba', 0.902, 0.325, 0.992, 0.689, 0.765, 2.2],
    ['RWKV-4', 0.898, 0.389, 0.914, 0.691, 0.757, 3.0],
    ['LSTM', 'X', 0.275, 'X', 0.675, 0.718, 5.4],
    ['LSTM (Block)', 0.88, 0.495, 'X', 0.69, 0.756, 3.4],
    ['xLSTM', 0.906, 0.411, 0.919, 0.695, 0.761, 1.6],
  ),
};

export const lraReference: PublishedTable = {
  id: 'lra-reference',
  title: 'Long Range Arena, attention and its relatives',
  source: 'README of the Long Range Arena repository; the row S4 from its latest configurations',
  settings: 'as in Long Range Arena; bidirectional models',
  certainty: 'V',
  better: 'higher',
  columns: [
    column('ListOps', 'listops'),
    column('Text', 'textClassification'),
    column('Retrieval', 'retrieval'),
    column('Image', 'image', 'G-Image'),
    column('Pathfinder', 'pathfinder'),
  ],
  rows: rows(
    ['Transformer', 0.3637, 0.6427, 0.5746, 0.4244, 0.714],
    ['Synthesizer', 0.3699, 0.6168, 0.5467, 0.4161, 0.6945],
    ['Linformer', 0.357, 0.5394, 0.5227, 0.3856, 0.7634],
    ['Linear Transformer', 0.1613, 0.659, 0.5309, 0.4234, 0.753],
    ['Performer', 0.1801, 0.654, 0.5382, 0.4277, 0.7705],
    ['S4', 0.595, 0.865, 0.91, 0.885, 0.94],
    ['DSS', 0.6, 0.85, 0.88, 0.86, 0.85],
    ['S4D-Lin', 0.605, 0.87, 0.91, 0.879, 0.94],
  ),
  exceptions: Object.fromEntries(
    ['DSS', 'S4D-Lin'].flatMap((model) =>
      ['ListOps', 'Text', 'Retrieval', 'Image', 'Pathfinder'].map((title) => [`${model}/${title}`, 'M' as const]),
    ),
  ),
};
