/** @file The settings of a search, and the buttons that start, stop and resume it. */
import type { SearchSettings } from '../../protocol-memory.js';
import { useObservable } from '../parts/observable.js';
import type { SearchStore } from './search-store.js';

const CHOICES = {
  maxLength: { label: 'Longest sequence', values: [8, 12, 16, 24, 32, 64] },
  dim: { label: 'Width', values: [16, 32, 64, 128] },
  learningRate: { label: 'Learning rate', values: [0.001, 0.002, 0.005, 0.01, 0.02] },
  seed: { label: 'Seed', values: [1, 2, 3, 4, 5] },
} as const;

export function SearchForm({ store }: { readonly store: SearchStore }) {
  const { phase, settings, problem } = useObservable(store);
  const isRunning = phase === 'training' || phase === 'stopping';
  return (
    <form
      class="card"
      aria-label="Search"
      onSubmit={(event) => {
        event.preventDefault();
        if (!isRunning) void store.start();
      }}
    >
      <h2>Nearest-neighbour search</h2>
      <div class="fields">
        {(Object.keys(CHOICES) as (keyof SearchSettings)[]).map((name) => (
          <div class="field" key={name}>
            <label for={`search-${name}`}>{CHOICES[name].label}</label>
            <select
              id={`search-${name}`}
              value={String(settings[name])}
              disabled={isRunning}
              onChange={({ currentTarget }) => store.setSettings({ [name]: Number(currentTarget.value) })}
            >
              {CHOICES[name].values.map((value) => (
                <option key={value} value={String(value)}>
                  {value}
                </option>
              ))}
            </select>
          </div>
        ))}
      </div>
      <div class="actions">
        <button class="primary" disabled={isRunning}>
          {phase === 'new' ? 'Train both' : 'Train anew'}
        </button>
        <button type="button" disabled={phase !== 'training'} onClick={() => void store.stop()}>
          Stop
        </button>
        <button type="button" disabled={phase !== 'stopped'} onClick={() => void store.resume()}>
          Resume
        </button>
      </div>
      {problem !== null && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
    </form>
  );
}
