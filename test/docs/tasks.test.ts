/** @file docs/tasks.md says what the tasks are, with the examples that they draw. */
import { expect, it } from 'vitest';
import { tasksDocument } from '../../docs/generate-tasks.js';
import { readDocument } from '../support/documents.js';

it('docs/tasks.md is up to date; if not, run: npx tsx docs/generate-tasks.ts', async () => {
  expect(readDocument('docs/tasks.md')).toBe(await tasksDocument());
});
