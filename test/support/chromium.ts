/** @file Headless Chromium for tests that want it, with WebGPU in software; and why it is not here. */
import { existsSync } from 'node:fs';
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';

const executablePath = [process.env['CHROMIUM'], '/usr/bin/chromium'].find(
  (file) => file !== undefined && existsSync(file),
);

/** Empty where there is Chromium; else for the names of tests. */
export const noChromium =
  executablePath === undefined ? ' (skipped: no Chromium; apt-get install chromium, or set $CHROMIUM)' : '';

const WEBGPU = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'];
const NO_WEBGPU = ['--disable-features=WebGPU', '--disable-gpu', '--disable-blink-features=WebGPU'];

export const launchChromium = ({ webgpu = true } = {}): Promise<Browser> =>
  chromium.launch({ executablePath: executablePath!, args: ['--no-sandbox', ...(webgpu ? WEBGPU : NO_WEBGPU)] });

/** A new page, and all that it complains of: errors that nobody caught, and those on the console. */
export async function openPage(browser: Browser | BrowserContext): Promise<{ page: Page; complaints: string[] }> {
  const page = await browser.newPage();
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text());
  });
  return { page, complaints };
}
