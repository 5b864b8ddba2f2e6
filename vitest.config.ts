import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { LongestFirst } from './test/support/longest-first.js';

export default defineConfig({
  // Examples import the library as its users do; in tests that means the sources, as in the tests themselves.
  resolve: { alias: [{ find: /^xlstm$/, replacement: fileURLToPath(new URL('src/index.ts', import.meta.url)) }] },
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // The native library has its own threads; two test files at once already fill two cores.
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
  },
});
