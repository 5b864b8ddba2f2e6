/** @file Puts together what report.html shows of a run: from its logs, its model and its data. */
import { countParameters } from '../layers/parameter.js';
import { countByPart, parameterTable } from '../model/language-model.js';
import { writtenRunConfig } from './config.js';
import { readMetrics } from './metrics-log.js';
import { writeReport } from './report.js';
import type { Run } from './run.js';
import { runPaths } from './run-folder.js';

/** Writes report.html of a run as it stands. @throws WriteError when the disk refuses. */
export async function writeRunReport(run: Run): Promise<void> {
  const { folder, config, model, data } = run;
  const paths = runPaths(folder);
  const table = parameterTable(model.config);
  await writeReport(paths.report, {
    title: config.name,
    created: new Date(),
    device: `${model.device.name}: ${model.device.info.description}`,
    config: writtenRunConfig(config),
    model: {
      description: `xLSTM ${model.config.blocks.join(' ')}, width ${model.config.dim}, vocabulary ${model.config.vocabSize}`,
      parts: Object.entries(countByPart(table)).map(([name, parameters]) => ({ name, parameters })),
      total: countParameters(table),
      stateBytes: 4 * model.stateSize,
    },
    dataset: data.facts,
    metrics: readMetrics(paths.metrics),
    samples: readMetrics(paths.samples).map(({ step, prompt, text }) => ({
      step,
      prompt: String(prompt),
      text: String(text),
    })),
  });
}
