/**
 * @file Takes the pictures of the playground in docs/playground/: each view, narrow and wide, light and dark, in headless
 * Chromium while a model is trained there. `npx tsx docs/take-pictures.ts [FOLDER [STEPS]]`
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Page } from 'playwright-core';
import { launchChromium, serveFolder } from '../test/support/chromium.js';
import { root } from '../test/support/documents.js';
import { buildPlayground, chooseNumbers, waitForStep } from '../test/support/playground.js';

const [target = path.join(root, 'docs/playground'), steps = '400'] = process.argv.slice(2);
const SIZES = { narrow: { width: 375, height: 812 }, wide: { width: 1440, height: 900 } } as const;

/** The view as it is, in each size and colour scheme. */
async function take(page: Page, name: string): Promise<void> {
  for (const [size, viewport] of Object.entries(SIZES)) {
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme });
      await page.waitForTimeout(400); // the curve is drawn anew
      await page.screenshot({
        path: path.join(target, `${name}-${size}-${colorScheme}.png`),
        fullPage: size === 'narrow',
      });
    }
  }
}

const site = mkdtempSync(path.join(tmpdir(), 'xlstm-pictures-'));
await buildPlayground(site);
const served = await serveFolder(site);
const browser = await launchChromium();
try {
  mkdirSync(target, { recursive: true });
  const page = await browser.newPage();
  await page.goto(served.address);
  await page.locator('.device.slow').waitFor();
  await page.getByRole('button', { name: 'Add a block: mLSTM' }).click();
  await chooseNumbers(page, { Context: '64', Batch: '8', Tokens: 'bpe', Steps: steps });
  await page.getByRole('button', { name: 'Train', exact: true }).click();
  await waitForStep(page, Math.floor(Number(steps) * 0.7));
  await take(page, 'train');
  await page.getByRole('link', { name: 'Generate' }).click();
  await page.getByLabel('Prompt').fill('My fellow citizens, ');
  await page.getByLabel('Max tokens').fill('150');
  await page.getByRole('button', { name: 'Generate' }).click();
  await page.getByText(/tokens in/).waitFor({ timeout: 120_000 });
  await take(page, 'generate');
  await page.getByRole('link', { name: 'Models' }).click();
  await page.getByText(/Kept in this browser/).waitFor({ timeout: 120_000 });
  await take(page, 'models');
} finally {
  await browser.close();
  served.close();
  rmSync(site, { recursive: true, force: true });
}
