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

interface Bundle {
  /** The files that a page loads at once. */
  readonly files: readonly Uint8Array[];
  /** What they are made of. */
  readonly inputs: readonly string[];
}

/**
 * The library for a page, with nothing left outside: an import of Node is an error, as it has no file to bundle. What is
 * imported only when it is asked for does not count.
 */
async function bundle(source: string, folder = path.join(root, 'src')): Promise<Bundle> {
  const { outputFiles, metafile } = await build({
    stdin: { contents: source, resolveDir: folder, loader: 'ts' },
    tsconfigRaw: {}, // "xlstm" is the package here, not the sources
    ...{ bundle: true, splitting: true, outdir: 'out', write: false, metafile: true, minify: true, logLevel: 'silent' },
    ...{ format: 'esm', platform: 'browser', target: 'es2022', absWorkingDir: root },
  });
  const names = new Set(['out/stdin.js']);
  for (const name of names) {
    for (const { path: other, kind } of metafile.outputs[name]!.imports)
      if (kind === 'import-statement') names.add(other);
  }
  const inputs = [...names].flatMap((name) => Object.keys(metafile.outputs[name]!.inputs));
  const files = outputFiles.filter((file) => names.has(path.relative(root, file.path))).map(({ contents }) => contents);
  return { files, inputs: inputs.filter((name) => name !== '<stdin>') };
}

const gzipped = (files: readonly Uint8Array[]): number =>
  files.reduce((bytes, file) => bytes + gzipSync(file, { level: 9 }).length, 0);

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

  it('loads the reference device, which is for tests, only when it is asked for', async () => {
    expect((await whole).inputs).not.toContain('src/device/reference/reference.ts');
  });

  it(`has at most ${MAX_BYTES / 1000} KB gzipped`, async () => {
    const bytes = gzipped((await whole).files);
    expect(bytes).toBeGreaterThan(50_000);
    expect(bytes).toBeLessThanOrEqual(MAX_BYTES);
  });

  it('has no name that Node has not, since types are taken from there unless "browser" is asked for', () => {
    expect(Object.keys(page).length).toBeGreaterThan(80);
    expect(Object.keys(page).filter((name) => !(name in node))).toEqual([]);
  });
});
