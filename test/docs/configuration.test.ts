/** @file docs/configuration.md says what the schema says. */
import { expect, it } from 'vitest';
import { configurationDocument } from '../../docs/generate-configuration.js';
import { readDocument } from '../support/documents.js';

it('docs/configuration.md is up to date; if not, run: npx tsx docs/generate-configuration.ts', async () => {
  expect(readDocument('docs/configuration.md')).toBe(await configurationDocument());
});
