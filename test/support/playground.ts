/** @file The playground for tests and for the pictures of the documents: built, and its controls by their labels. */
import path from 'node:path';
import type { Page } from 'playwright-core';
import { build } from 'vite';
import { root } from './documents.js';

/** Builds the site into a folder. */
export async function buildPlayground(outDir: string): Promise<void> {
  await build({ configFile: path.join(root, 'web/vite.config.ts'), build: { outDir }, logLevel: 'warn' });
}

/** Fills fields, or chooses of lists, by their labels. */
export async function chooseNumbers(page: Page, values: Readonly<Record<string, string>>): Promise<void> {
  for (const [label, value] of Object.entries(values)) {
    const field = page.getByLabel(label, { exact: true });
    const isList = await field.evaluate((element) => element.tagName === 'SELECT');
    await (isList ? field.selectOption(value) : field.fill(value));
  }
}

/** Waits until training is in a phase, as its heading says. */
export const waitForPhase = (page: Page, phase: 'Stopped' | 'Finished'): Promise<void> =>
  page.getByRole('heading', { name: phase, exact: true }).waitFor();

/** The text of the first element. */
export async function textOf(page: Page, selector: string): Promise<string> {
  return (await page.locator(selector).first().textContent()) ?? '';
}

/** Waits until so many steps are done. */
export async function waitForStep(page: Page, step: number): Promise<void> {
  await page.waitForFunction(`Number.parseInt(document.querySelector('.stats dd').textContent) >= ${step}`);
}

/** Keeps when each long task of the main thread began and how long it took, in `globalThis.longTasks`, over reloads of the page. */
export async function recordLongTasks(page: Page): Promise<void> {
  await page.addInitScript(`
    globalThis.longTasks = JSON.parse(sessionStorage.getItem('longTasks') ?? '[]');
    new PerformanceObserver((list) => {
      for (const { startTime, duration } of list.getEntries()) longTasks.push({ startTime, duration });
      sessionStorage.setItem('longTasks', JSON.stringify(longTasks));
    }).observe({ type: 'longtask', buffered: true });
  `);
}
