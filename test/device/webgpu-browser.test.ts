/**
 * @file The WebGPU device in a page of headless Chromium: that it bundles without anything of Node, and the self-test there.
 * Skipped by name where there is no Chromium ($CHROMIUM, or that of the system).
 */
import { join } from 'node:path';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { KERNEL_NAMES } from '../../src/device/kernel-names.js';
import { ABSENT } from '../../src/device/webgpu/absent.js';
import type { PageReport } from '../browser/selftest-page.js';
import { complaintsOf, launchChromium, serve, withoutChromium, type Served } from '../support/chromium.js';

const root = join(import.meta.dirname, '../..');

/** One file for a page. An import of Node, or of a package, is an error here: nothing is left outside. */
async function bundled(file: string): Promise<{ code: string; inputs: string[] }> {
  const { outputFiles, metafile } = await build({
    entryPoints: [join(root, file)],
    ...{ bundle: true, write: false, metafile: true, minify: true },
    ...{ format: 'esm', platform: 'browser', target: 'es2022', absWorkingDir: root },
  });
  return { code: outputFiles[0]!.text, inputs: Object.keys(metafile.inputs) };
}

test('the device is bundled for a page from its own sources alone', async () => {
  const { inputs } = await bundled('src/device/webgpu/webgpu.ts');
  expect(inputs.filter((input) => !input.startsWith('src/'))).toEqual([]);
});

describe.skipIf(withoutChromium !== '')(`in a page of headless Chromium${withoutChromium}`, () => {
  let server: Served;
  beforeAll(async () => {
    const { code } = await bundled('test/browser/selftest-page.ts');
    const page = '<!doctype html><title>self-test</title><script type="module" src="/page.js"></script>';
    server = await serve((url) => ({ '/': page, '/page.js': code })[url]);
  });
  afterAll(() => server?.close());

  test('every kernel agrees with the reference, with nothing on the console', async () => {
    const browser = await launchChromium();
    try {
      const page = await browser.newPage();
      const complaints = complaintsOf(page);
      await page.goto(server.address);
      await page.waitForFunction('globalThis.runSelftest !== undefined');
      const report = (await page.evaluate('runSelftest()')) as PageReport;
      expect(report.failures).toEqual([]);
      expect(report.kernels.toSorted()).toEqual(KERNEL_NAMES.filter((name) => !(name in ABSENT)).toSorted());
      expect(complaints).toEqual([]);
    } finally {
      await browser.close();
    }
  }, 600_000);
});
