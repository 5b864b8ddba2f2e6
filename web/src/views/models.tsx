/** @file The Models view: what the model is, opening one from files, saving it, and what the browser keeps. */
import { useId } from 'preact/hooks';
import { formatBytes, formatCount } from '../../../src/format.js';
import type { ModelStatus } from '../protocol.js';
import { openModel, usePage, type PageState } from '../state.js';
import { Drop } from './parts/drop.js';
import { grouped } from './parts/grouped.js';
import { Save } from './parts/save-model.js';

export function ModelsView() {
  const { model, kept, progress } = usePage();
  return (
    <div class="stack">
      <section class="card" aria-label="The model">
        <div class="head">
          <h2>{model === null ? 'No model yet' : model.name}</h2>
          <p class="detail">{progressText(progress)}</p>
        </div>
        {model === null ? (
          <p class="hint">
            <a href="#train">Train one</a>, or open one below.
          </p>
        ) : (
          <Facts {...model} />
        )}
        {model !== null && <Save />}
        <p class={kept.problem === null ? 'hint' : 'hint problem'}>{keptText(model, kept.bytes, kept.problem)}</p>
      </section>
      <Open />
    </div>
  );
}

/** "Opening large: 40 %" */
function progressText(progress: PageState['progress']): string {
  if (progress === null) return '';
  const { label, share } = progress;
  return share === null ? label : `${label}: ${Math.round(100 * share)} %`;
}

function keptText(model: ModelStatus | null, bytes: number | null, problem: string | null): string {
  if (problem !== null) return problem;
  if (model === null) return 'A model is kept in this browser, and is there again when you come back.';
  if (bytes === null) return 'It will be kept in this browser in a moment.';
  return `Kept in this browser (${formatBytes(bytes)}); it is there again when you come back.`;
}

function Facts({ blocks, dim, parameters, vocabSize, training }: ModelStatus) {
  const facts: [name: string, value: string][] = [
    ['Blocks', blocks],
    ['Width', String(dim)],
    ['Parameters', formatCount(parameters)],
    ['Tokens', grouped(vocabSize)],
    ...(training === null ? [] : ([['Trained', `${grouped(training.step)} steps`]] as [string, string][])),
  ];
  return (
    <dl class="stats">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Open() {
  const [folder, files] = [useId(), useId()];
  const take = (list: FileList | readonly File[] | null): void => {
    if (list !== null && list.length > 0) void openModel([...list]);
  };
  const onPick = ({ currentTarget }: { currentTarget: HTMLInputElement }): void => {
    take(currentTarget.files);
    currentTarget.value = '';
  };
  return (
    <section class="card" aria-label="Open a model">
      <h2>Open a model</h2>
      <p class="hint">
        A run of <code>xlstm train</code> or a folder of Hugging Face: <code>config.json</code>,{' '}
        <code>.safetensors</code>, <code>tokenizer.json</code>. Its blocks must be mLSTM, sLSTM or LSTM, which the GPU
        kernels of a page know. It takes the place of the model above.
      </p>
      <Drop onFiles={take}>
        <div class="pickers">
          <label class="button" for={folder}>
            Choose a folder
          </label>
          <input id={folder} class="unseen" type="file" {...{ webkitdirectory: true }} onChange={onPick} />
          <label class="button" for={files}>
            Choose files
          </label>
          <input id={files} class="unseen" type="file" multiple onChange={onPick} />
        </div>
        <p class="hint">or drop a folder here</p>
      </Drop>
    </section>
  );
}
