/**
 * @file Takes pictures of the playground in headless Chromium while a model is trained there: those of docs/playground.md, or,
 * into a folder that is named, of each view, narrow and wide, light and dark. `npx tsx docs/take-pictures.ts [FOLDER]`
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Page } from 'playwright-core';
import { launchChromium, serveFolder } from '../test/support/chromium.js';
import { root } from '../test/support/documents.js';
import { buildPlayground, chooseNumbers, waitForPhase, waitForStep } from '../test/support/playground.js';

const STEPS = 300;
/** Steps of both models of the Search view. */
const SEARCH_STEPS = 600;
/** Those of the document, of every view. */
const KEPT = ['wide-light', 'narrow-dark'];
/** A GPU in software is slow, and slower beside other work. */
const PATIENCE_MS = 3_600_000;
const [target] = process.argv.slice(2);
const SIZES = { narrow: { width: 375, height: 812 }, wide: { width: 1440, height: 900 } } as const;

/** A view is cut off there. */
const MOST_HIGH = { narrow: 1700, wide: 900 } as const;

/** The view as it is, in each size and colour scheme that is wanted. */
async function take(page: Page, view: string): Promise<void> {
  for (const [size, viewport] of Object.entries(SIZES) as [keyof typeof SIZES, { width: number; height: number }][]) {
    for (const colorScheme of ['light', 'dark'] as const) {
      const kind = `${size}-${colorScheme}`;
      if (target === undefined && !KEPT.includes(kind)) continue;
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme });
      await page.waitForTimeout(400); // the curve is drawn anew
      const folder = target ?? path.join(root, 'docs/playground');
      const bottom = await page.evaluate<number>(
        `document.querySelector('main').getBoundingClientRect().bottom + scrollY`,
      );
      const clip = { x: 0, y: 0, width: viewport.width, height: Math.min(MOST_HIGH[size], Math.ceil(bottom)) };
      await page.screenshot({ path: path.join(folder, `${view}-${kind}.png`), fullPage: true, clip });
    }
  }
}

const site = mkdtempSync(path.join(tmpdir(), 'xlstm-pictures-'));
await buildPlayground(site);
const served = await serveFolder(site);
const browser = await launchChromium();
try {
  mkdirSync(target ?? path.join(root, 'docs/playground'), { recursive: true });
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  await page.goto(served.address);
  await page.locator('.device.slow').waitFor();
  await page.getByRole('button', { name: 'Add a block: mLSTM' }).click();
  await chooseNumbers(page, { Context: '64', Batch: '4', Tokens: 'bpe', Steps: String(STEPS) });
  await page.getByRole('button', { name: 'Train', exact: true }).click();
  await waitForStep(page, Math.floor(STEPS * 0.7), STEPS);
  await take(page, 'train');
  await page.getByRole('link', { name: 'Generate' }).click();
  await page.getByLabel('Prompt').fill('My fellow citizens, ');
  await page.getByLabel('Max tokens').fill('150');
  await page.getByRole('button', { name: 'Generate' }).click();
  await page.getByText(/tokens in/).waitFor();
  await take(page, 'generate');
  await page.getByRole('link', { name: 'Models' }).click();
  await page.getByText(/Kept in this browser/).waitFor();
  await take(page, 'models');
  await page.getByRole('link', { name: 'Train', exact: true }).click();
  await waitForPhase(page, 'Finished');
  await page.getByRole('link', { name: 'Memory' }).click();
  await page.getByRole('img', { name: /^Matrix C/ }).waitFor();
  await page.waitForTimeout(1000); // each plot is drawn in a turn of its own
  await take(page, 'memory');
  await page.getByRole('link', { name: 'Search' }).click();
  await chooseNumbers(page, { 'Longest sequence': '16', Width: '16', 'Learning rate': '0.01' });
  await page.getByRole('button', { name: 'Train both' }).click();
  await page.waitForFunction(
    `Number(document.querySelector('[data-testid=search-step]')?.textContent) >= ${SEARCH_STEPS}`,
  );
  await page.getByRole('slider').fill('6');
  await take(page, 'search');
} finally {
  await browser.close();
  served.close();
  rmSync(site, { recursive: true, force: true });
}
