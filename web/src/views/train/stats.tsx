/** @file The numbers of a training that runs: step, losses, speed, time left; and the size of the model that would be made. */
import { useEffect, useState } from 'preact/hooks';
import { formatCount, formatDuration } from '../../../../src/format.js';
import type { Phase, TrainSettings } from '../../protocol.js';
import { client, rows, usePage } from '../../state.js';
import { grouped } from '../parts/grouped.js';

const PHASES: Readonly<Record<Phase, string>> = {
  idle: 'Not started',
  preparing: 'Preparing',
  training: 'Training',
  stopped: 'Stopped',
  finished: 'Finished',
};

const loss = (value: number | undefined): string => (value === undefined ? '–' : value.toFixed(3));

export function Stats() {
  const { phase, model, speed, progress } = usePage();
  const training = model?.training ?? null;
  const last = rows.at(-1);
  const step = last?.step ?? 0;
  const steps = training?.settings.steps ?? 0;
  const heldOut = rows.findLast((row) => row.heldOut !== undefined)?.heldOut;
  const isTraining = phase === 'training';
  const stats: [name: string, value: string][] = [
    ['Step', steps === 0 ? '–' : `${grouped(step)} / ${grouped(steps)}`],
    ['Loss', loss(last?.loss)],
    ['Held-out', loss(heldOut)],
    ['Tokens/s', speed === null || !isTraining ? '–' : formatCount(speed.tokensPerSecond)],
    ['Time left', speed === null || !isTraining ? '–' : formatDuration(speed.secondsLeft)],
  ];
  return (
    <>
      <div class="head">
        <h2>{progress?.label ?? PHASES[phase]}</h2>
        {training !== null && (
          <p class="detail">
            {training.textName} · {model!.blocks} · {formatCount(model!.parameters)} parameters
          </p>
        )}
      </div>
      <dl class="stats">
        {stats.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      <progress
        class={phase === 'preparing' || progress !== null ? 'busy' : ''}
        aria-label="Steps done"
        max={Math.max(steps, 1)}
        value={step}
      />
    </>
  );
}

/** How large the model would be, or what is wrong with the settings. */
export function Size({ settings, problem }: { settings: TrainSettings; problem: string | null }) {
  const { device } = usePage();
  const [parameters, setParameters] = useState<number | null>(null);
  const key = JSON.stringify([settings.blocks, settings.dim, settings.tokenizer]);
  useEffect(() => {
    if (problem !== null || device.kind !== 'ready') return;
    let isCurrent = true;
    client
      .call('measure', { settings })
      .then((answer) => isCurrent && setParameters(answer.parameters))
      .catch(() => isCurrent && setParameters(null));
    return () => {
      isCurrent = false;
    };
  }, [key, problem, device.kind]);
  if (problem !== null) {
    return (
      <p class="size problem" role="alert">
        {problem}
      </p>
    );
  }
  return <p class="size">{parameters === null ? 'A model' : `About ${formatCount(parameters)} parameters`}</p>;
}
