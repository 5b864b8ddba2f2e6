/** @file The Train view: a text, the blocks of a model, a few numbers; then the loss, the speed and samples. */
import { useRef, useState } from 'preact/hooks';
import type { TextChoice, TrainSettings } from '../protocol.js';
import { resume, stop, train, usePage } from '../state.js';
import { Blocks } from './train/blocks.js';
import { LossCurve } from './train/curve.js';
import { Numbers } from './train/numbers.js';
import { Sample } from './train/sample.js';
import { keepSettings, keptSettings, problemOf } from './train/settings.js';
import { Size, Stats } from './train/stats.js';
import { OFFERED, TextSource } from './train/text-source.js';

/** The text that was chosen last, while the page is open: the view comes and goes. */
let lastText: TextChoice = OFFERED;

export function TrainView() {
  const { phase, model, device } = usePage();
  const [text, setText] = useState(lastText);
  const [settings, setSettings] = useState(keptSettings);
  const choose = (choice: TextChoice): void => {
    lastText = choice;
    setText(choice);
  };
  const results = useRef<HTMLDivElement>(null);
  const change = (changes: Partial<TrainSettings>): void => {
    const next = { ...settings, ...changes };
    setSettings(next);
    keepSettings(next);
  };
  const isBusy = phase === 'training' || phase === 'preparing';
  const problem = problemOf(settings);
  const begin = (event: Event): void => {
    event.preventDefault();
    if (isBusy || problem !== null || device.kind !== 'ready') return;
    void train(text, settings);
    // On a narrow screen the results are below the form.
    if (results.current!.offsetTop > innerHeight / 2) results.current!.scrollIntoView();
  };
  const training = model?.training ?? null;
  // To as many steps as the form says now, so that a training that has finished can go on.
  const canResume = !isBusy && training !== null && training.step < settings.steps;
  return (
    <div class="columns">
      <form class="card setup" onSubmit={begin} aria-label="Training">
        <TextSource text={text} onChange={choose} />
        <Blocks blocks={settings.blocks} onChange={(blocks) => change({ blocks })} />
        <Numbers settings={settings} onChange={change} />
        <Size settings={settings} problem={problem} />
        <div class="actions">
          <button class="primary" disabled={isBusy || problem !== null || device.kind !== 'ready'}>
            {training === null ? 'Train' : 'Train anew'}
          </button>
          <button type="button" disabled={phase !== 'training'} onClick={() => void stop()}>
            Stop
          </button>
          <button type="button" disabled={!canResume} onClick={() => void resume(settings.steps)}>
            Resume
          </button>
        </div>
      </form>
      <div class="results" ref={results}>
        <section class="card" aria-label="Progress">
          <Stats />
          <LossCurve />
        </section>
        <Sample />
      </div>
    </div>
  );
}
