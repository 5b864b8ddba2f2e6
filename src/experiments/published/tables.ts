/** @file All published tables. */
import { figure12, figure4, stateTracking } from './formal-languages.js';
import { figure7, table1, table2Components, table2Gates, table3, table4, table8 } from './language-modelling.js';
import { lraReference, table6 } from './long-range-arena.js';
import type { PublishedTable } from './table.js';

export const PUBLISHED_TABLES: readonly PublishedTable[] = [
  figure4,
  figure12,
  stateTracking,
  table1,
  table2Components,
  table2Gates,
  table8,
  table3,
  table4,
  figure7,
  table6,
  lraReference,
];
