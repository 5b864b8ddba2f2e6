/** @file The library in a page: what its bundle is made of, how large it is, and that its names are those of Node. */
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { describe, expect, it } from 'vitest';
import * as page from '../../src/browser.js';
import * as node from '../../src/index.js';
import { commandIsBuilt } from '../support/cli.js';
import { root } from '../support/documents.js';

const built = commandIsBuilt ? '' : ' (skipped: needs npm run build)';

/** Gzipped, minified, all that `browser.ts` exports. */
const MAX_BYTES = 150_000;
/** The only package that may come along. */
const PACKAGES = ['zod'];

/** One file for a page, with nothing left outside: an import of Node is an error, as it has no file to bundle. */
async function bundle(
  source: string,
  folder = path.join(root, 'src'),
): Promise<{ code: Uint8Array; inputs: string[] }> {
  const { outputFiles, metafile } = await build({
    stdin: { contents: source, resolveDir: folder, loader: 'ts' },
    tsconfigRaw: {}, // "xlstm" is the package here, not the sources
    ...{ bundle: true, write: false, metafile: true, minify: true, logLevel: 'silent' },
    ...{ format: 'esm', platform: 'browser', target: 'es2022', absWorkingDir: root },
  });
  return { code: outputFiles[0]!.contents, inputs: Object.keys(metafile.inputs).filter((name) => name !== '<stdin>') };
}

describe('the library in a page', () => {
  const whole = bundle("export * from './browser.js';");

  it('is bundled from its own sources and zod alone', async () => {
    const { inputs } = await whole;
    expect(inputs.filter((name) => name.startsWith('src/')).length).toBeGreaterThan(150);
    const packages = new Set(inputs.flatMap((name) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(name)?.[1] ?? []));
    expect([...packages]).toEqual(PACKAGES);
  });

  it.skipIf(!commandIsBuilt)(`is what a bundler finds by the name of the package${built}`, async () => {
    const { inputs } = await bundle("export * from 'xlstm';", root);
    expect(inputs).toContain('dist/browser.js');
    expect(inputs).not.toContain('dist/index.js');
  });

  it('imports of Node and native packages are found', async () => {
    await expect(bundle("export * from './index.js';")).rejects.toThrow(/Could not resolve "node:fs"/);
  });

  it(`has at most ${MAX_BYTES / 1000} KB gzipped`, async () => {
    const bytes = gzipSync((await whole).code, { level: 9 }).length;
    expect(bytes).toBeGreaterThan(50_000);
    expect(bytes).toBeLessThanOrEqual(MAX_BYTES);
  });

  it('has no name that Node has not, since types are taken from there unless "browser" is asked for', () => {
    expect(Object.keys(page).length).toBeGreaterThan(80);
    expect(Object.keys(page).filter((name) => !(name in node))).toEqual([]);
  });
});
