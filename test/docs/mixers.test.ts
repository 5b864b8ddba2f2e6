/** @file docs/mixers.md has the table that its generator makes. */
import { expect, it } from 'vitest';
import { mixersDocument } from '../../docs/generate-mixers.js';
import { readDocument } from '../support/documents.js';

it('docs/mixers.md is up to date; if not, run: npx tsx docs/generate-mixers.ts', async () =>
  expect(readDocument('docs/mixers.md')).toBe(await mixersDocument()));
