/**
 * @file The report of a comparison: report.html and one SVG per figure, from its results.csv and the folders of its runs.
 * What stands in them is decided by the other files of this folder.
 */
import fs from 'node:fs';
import path from 'node:path';
import { explainWriteFailure, makeFolder, writeFileWhole } from '../../model/disk.js';
import { loadComparison } from './comparison.js';

/** Where the drawings lie in the folder of a comparison. Drawings of an earlier report are removed from it. */
export const FIGURES_FOLDER = 'figures';

/**
 * Writes report.html and figures/*.svg into the folder of a comparison.
 * @throws Error when results.csv is missing or damaged; WriteError when the disk refuses: earlier files stand.
 */
export async function writeReport(folder: string): Promise<void> {
  const comparison = loadComparison(folder);
  // ECharts takes a moment to load.
  const [{ standaloneFigure }, { comparisonFigures }, { comparisonPage }] = await Promise.all([
    import('./chart.js'),
    import('./figures.js'),
    import('./page.js'),
  ]);
  const figures = comparisonFigures(comparison);
  const drawings = path.join(folder, FIGURES_FOLDER);
  try {
    makeFolder(drawings);
  } catch (error) {
    throw explainWriteFailure(error, 'the figures', drawings, undefined, 'the table of results stands');
  }
  const all = figures.flatMap((one) => one.figures);
  for (const figure of all)
    writeFileWhole(path.join(drawings, `${figure.name}.svg`), standaloneFigure(figure), 'a figure');
  writeFileWhole(path.join(folder, 'report.html'), comparisonPage(comparison, figures, new Date()), 'the report');
  const kept = new Set(all.map(({ name }) => `${name}.svg`));
  for (const name of fs.readdirSync(drawings))
    if (name.endsWith('.svg') && !kept.has(name)) fs.rmSync(path.join(drawings, name));
}
