/**
 * @file The library in a worker of a page of headless Chromium, without special headers: trains, generates, and gives a
 * model that Node reads. Skipped by name where there is no Chromium ($CHROMIUM, or that of the system).
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { decode } from '../../src/generate/decode.js';
import { loadModel } from '../../src/model/checkpoint.js';
import { modelFingerprint } from '../../src/model/fingerprint.js';
import { ByteTokenizer } from '../../src/tokens/bytes.js';
import { referenceDevice } from '../support/devices.js';
import { root } from '../support/documents.js';
import { temporaryFolder } from '../support/folders.js';
import type { WorkerReport } from './train-worker.js';

const executablePath = [process.env['CHROMIUM'], '/usr/bin/chromium'].find(
  (file) => file !== undefined && existsSync(file),
);
const reason =
  executablePath === undefined ? ' (skipped: no Chromium; apt-get install chromium, or set $CHROMIUM)' : '';

/** Starts the worker and leaves what it says in `globalThis.answer`; the weights as a list, which a test can read. */
const PAGE = `<!doctype html><title>library</title><script type="module">
  new Worker('/worker.js', { type: 'module' }).onmessage = ({ data }) => {
    const weights = Array.from(data.report?.weights ?? []);
    globalThis.answer = data.report ? { report: { ...data.report, weights } } : data;
  };
</script>`;

describe.skipIf(reason !== '')(`in a worker of headless Chromium${reason}`, () => {
  let server: Server;
  beforeAll(async () => {
    const { outputFiles } = await build({
      entryPoints: [path.join(root, 'test/browser/train-worker.ts')],
      ...{ bundle: true, write: false, minify: true, format: 'esm', platform: 'browser', target: 'es2022' },
    });
    server = createServer(({ url }, response) => {
      const isWorker = url === '/worker.js';
      response.setHeader('content-type', isWorker ? 'text/javascript' : 'text/html');
      response.end(isWorker ? outputFiles[0]!.text : PAGE);
    });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
  });
  afterAll(() => server?.close());

  async function runWorker(): Promise<{ report: WorkerReport; complaints: string[] }> {
    const browser = await chromium.launch({
      executablePath: executablePath!,
      args: ['--no-sandbox', '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'],
    });
    try {
      const page = await browser.newPage();
      const complaints: string[] = [];
      page.on('pageerror', (error) => complaints.push(error.message));
      page.on('console', (message) => {
        if (message.type() === 'error' && !message.text().includes('favicon')) complaints.push(message.text());
      });
      await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
      await page.waitForFunction('globalThis.answer !== undefined', undefined, { timeout: 200_000 });
      const { report, error } = (await page.evaluate('answer')) as { report?: WorkerReport; error?: string };
      if (report === undefined) throw new Error(`the worker failed: ${error}`);
      return { report, complaints };
    } finally {
      await browser.close();
    }
  }

  test('the loss falls, and the model goes to files and back, in the page and to Node', async () => {
    const { report, complaints } = await runWorker();
    const { losses, texts, fingerprints, config, weights } = report;
    expect(losses.length).toBe(20);
    expect(losses[0]).toBeGreaterThan(5); // ln 257 = 5.55
    expect(losses.at(-1)).toBeLessThan(1); // 0.85 on the reference device
    expect(texts[1]).toBe(texts[0]);
    expect(fingerprints[1]).toBe(fingerprints[0]);
    expect(complaints).toEqual([]);

    const folder = path.join(temporaryFolder(), 'model');
    mkdirSync(folder);
    writeFileSync(path.join(folder, 'config.json'), config);
    writeFileSync(path.join(folder, 'model.safetensors'), Uint8Array.from(weights));
    const { model, facts } = loadModel(folder, referenceDevice());
    expect(await modelFingerprint(model)).toBe(fingerprints[0]);
    const tokenizer = new ByteTokenizer();
    expect(facts.tokenizer).toBe(tokenizer.fingerprint());
    const tokens: number[] = [];
    for await (const token of decode(model, tokenizer.encode('the '), { maxTokens: 12, temperature: 0 }))
      tokens.push(token);
    expect(tokenizer.decode(tokens)).toBe(texts[0]);
    model.dispose();
  }, 240_000);
});
