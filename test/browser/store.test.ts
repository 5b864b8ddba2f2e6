/**
 * @file Models in the private file system of headless Chromium: kept over reloads, whole or not at all, within the quota;
 * and training there whose GPU is destroyed. Skipped by name where there is no Chromium.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { build } from 'esbuild';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { launchChromium, withoutChromium, openPage } from '../support/chromium.js';
import { root } from '../support/documents.js';
import { smallModelFolder } from '../support/small-model.js';
import type { Actions } from './store-page.js';

const PAGE =
  '<!doctype html><title>store</title><link rel="icon" href="data:," /><script type="module" src="/page.js"></script>';

describe.skipIf(withoutChromium !== '')(`in headless Chromium${withoutChromium}`, () => {
  let browser: Browser;
  let server: Server;
  let origin: string;
  let folder = '';
  beforeAll(async () => {
    const { outputFiles } = await build({
      entryPoints: [path.join(root, 'test/browser/store-page.ts')],
      ...{ bundle: true, write: false, minify: true, format: 'esm', platform: 'browser', target: 'es2022' },
    });
    server = createServer(({ url = '' }, response) => {
      const file = path.join(folder, path.basename(url));
      if (url === '/page.js') response.setHeader('content-type', 'text/javascript').end(outputFiles[0]!.text);
      else if (url === '/') response.setHeader('content-type', 'text/html').end(PAGE);
      else if (folder === '' || !existsSync(file)) response.writeHead(404).end();
      else response.setHeader('content-length', statSync(file).size).end(readFileSync(file));
    });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    browser = await launchChromium();
  });
  afterAll(async () => {
    await browser?.close();
    server?.close();
  });

  /** A page of its own storage, or another one of a context. */
  async function open(
    context?: BrowserContext,
  ): Promise<{ page: Page; complaints: string[]; context: BrowserContext }> {
    const own = context ?? (await browser.newContext());
    const { page, complaints } = await openPage(own);
    await page.goto(`${origin}/`);
    await page.waitForFunction('globalThis.save !== undefined');
    return { page, complaints, context: own };
  }

  const call = <K extends keyof Actions>(page: Page, name: K, ...args: Parameters<Actions[K]>) =>
    page.evaluate(`${name}(...${JSON.stringify(args)})`) as ReturnType<Actions[K]>;

  test('a model is there after a reload and in another tab, and gives the same text', async () => {
    const { page, complaints, context } = await open();
    const saved = await call(page, 'save', 'fox', 1);
    await page.reload();
    await page.waitForFunction('globalThis.save !== undefined');
    expect((await call(page, 'list')).map(({ name }) => name)).toEqual(['fox']);
    expect(await call(page, 'open', 'fox')).toEqual(saved);
    const { page: other } = await open(context);
    expect(await call(other, 'open', 'fox')).toEqual(saved);
    const replaced = await call(other, 'save', 'fox', 2);
    expect(replaced.fingerprint).not.toBe(saved.fingerprint);
    expect(await call(page, 'open', 'fox')).toEqual(replaced);
    await call(page, 'remove', 'fox');
    expect(await call(other, 'list')).toEqual([]);
    expect(complaints).toEqual([]);
    await context.close();
  }, 300_000);

  test('a tab that is closed in the middle of a save leaves the model that was there', async () => {
    const { page, context } = await open();
    const saved = await call(page, 'save', 'fox', 1);
    const { page: closing } = await open(context);
    await call(closing, 'saveForEver', 'fox');
    expect((await call(page, 'list')).map(({ bytes }) => bytes).length).toBe(1);
    await closing.close();
    expect(await call(page, 'open', 'fox')).toEqual(saved);
    const replaced = await call(page, 'save', 'fox', 2); // the lock went with the tab
    expect(await call(page, 'open', 'fox')).toEqual(replaced);
    await context.close();
  }, 300_000);

  test('where the quota is reached, the error says how much is missing, and nothing is lost', async () => {
    const { page, complaints, context } = await open();
    const saved = await call(page, 'save', 'fox', 1);
    const cdp = await context.newCDPSession(page);
    await cdp.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 1_000_000 });
    expect(await call(page, 'saveBytes', 'fox', 3_000_000)).toMatch(
      /^StorageFullError: the model "fox" needs 3\.0 MB, which is more than the browser gives this page; remove a stored model/,
    );
    expect(await call(page, 'saveStream', 'fox', 3_000_000)).toMatch(
      /^StorageFullError: the model "fox" needs more room than there is; .* still there\.$/,
    );
    expect((await call(page, 'list')).map(({ name }) => name)).toEqual(['fox']);
    expect(await call(page, 'open', 'fox')).toEqual(saved);
    await cdp.send('Storage.overrideQuotaForOrigin', { origin });
    expect(await call(page, 'saveBytes', 'other', 3_000_000)).toBe('saved');
    expect(complaints).toEqual([]);
    await context.close();
  }, 300_000);

  test('a model is downloaded with progress, and straight into the store', async () => {
    folder = await smallModelFolder();
    const bytes = ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'].reduce(
      (sum, name) => sum + statSync(path.join(folder, name)).size,
      0,
    );
    const { page, context } = await open();
    const { names, last, stored } = await call(page, 'download', 'got', '/model');
    expect(names).toEqual(['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']);
    expect(last).toEqual({ file: 'model.safetensors', loaded: bytes, total: bytes });
    expect(stored.bytes).toBe(bytes);
    await context.close();
    folder = '';
  });

  test('a GPU that is destroyed in the middle of a step is reported, and the losses are the same', async () => {
    const { page, complaints, context } = await open();
    const { whole, broken } = await call(page, 'trainWithLoss');
    expect(whole.lost).toEqual([]);
    expect(broken.lost.length).toBe(1);
    expect(broken.lost[0]).toMatch(/^destroyed: webgpu: the device was lost \(.*\); what was on it is gone/);
    expect(broken.from).toEqual([3]);
    expect(broken.losses).toEqual(whole.losses);
    expect(complaints).toEqual([]);
    await context.close();
  }, 300_000);
});
