/**
 * @file The WebGPU device in a page of headless Chromium: that it bundles without anything of Node, and the self-test there.
 * Skipped by name where there is no Chromium ($CHROMIUM, or that of the system).
 */
import { existsSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { KERNEL_NAMES } from '../../src/device/kernel-names.js';
import { ABSENT } from '../../src/device/webgpu/absent.js';
import type { PageReport } from '../browser/selftest-page.js';

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

const executablePath = [process.env['CHROMIUM'], '/usr/bin/chromium'].find(
  (path) => path !== undefined && existsSync(path),
);
const reason =
  executablePath === undefined ? ' (skipped: no Chromium; apt-get install chromium, or set $CHROMIUM)' : '';

describe.skipIf(reason !== '')(`in a page of headless Chromium${reason}`, () => {
  let server: Server;
  beforeAll(async () => {
    const { code } = await bundled('test/browser/selftest-page.ts');
    server = createServer(({ url }, response) => {
      const isScript = url === '/page.js';
      response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html');
      response.end(
        isScript ? code : '<!doctype html><title>self-test</title><script type="module" src="/page.js"></script>',
      );
    });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
  });
  afterAll(() => server?.close());

  test('every kernel agrees with the reference, with nothing on the console', async () => {
    const browser = await chromium.launch({
      executablePath: executablePath!,
      args: ['--no-sandbox', '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'],
    });
    try {
      const page = await browser.newPage();
      const complaints: string[] = [];
      page.on('pageerror', (error) => complaints.push(error.message));
      page.on('console', (message) => {
        if (message.type() === 'error') complaints.push(message.text());
      });
      await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
      await page.waitForFunction('globalThis.runSelftest !== undefined');
      const report = (await page.evaluate('runSelftest()')) as PageReport;
      expect(report.failures).toEqual([]);
      expect(report.kernels.toSorted()).toEqual(KERNEL_NAMES.filter((name) => !(name in ABSENT)).toSorted());
      expect(complaints.filter((text) => !text.includes('favicon'))).toEqual([]);
    } finally {
      await browser.close();
    }
  }, 600_000);
});
