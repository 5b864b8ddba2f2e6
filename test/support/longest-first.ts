/** @file The order of the test files: the longest first, so that no worker is left with one of them while the other has none. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

const folder = join(import.meta.dirname, '..');

/** Files of more than half a minute on two cores; the others come as Vitest has them. */
const LONGEST = [
  'device/arm64.test.ts',
  'train/webgpu-curve.test.ts',
  'docs/commands.test.ts',
  'browser/page.test.ts',
  'device/webgpu-browser.test.ts',
  'device/webgpu-forms.test.ts',
  'cli/compare.test.ts',
  'device/webgpu.test.ts',
  'browser/page-memory.test.ts',
  'browser/offline-page.test.ts',
  'device/selftest.test.ts',
  'browser/page-lost.test.ts',
  'train/train-curve.test.ts',
  'device/gradients.test.ts',
  'browser/library.test.ts',
].map((name) => join(folder, name));

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const gone = LONGEST.find((file) => !existsSync(file));
    if (gone !== undefined) throw new Error(`test/support/longest-first.ts names ${gone}, which is not there`);
    const rank = ({ moduleId }: TestSpecification): number => {
      const place = LONGEST.indexOf(moduleId);
      return place < 0 ? LONGEST.length : place;
    };
    const sorted = await super.sort(files);
    return sorted.toSorted((a, b) => rank(a) - rank(b));
  }
}
