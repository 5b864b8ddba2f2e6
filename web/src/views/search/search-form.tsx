/** @file The settings of a search, and the buttons that start, stop and resume it. */
import { useState } from 'preact/hooks';
import type { SearchSettings } from '../../protocol-memory.js';

interface SearchFormProps {
  readonly phase: 'new' | 'training' | 'stopping' | 'stopped';
  readonly onStart: (settings: SearchSettings) => void;
  readonly onStop: () => void;
  readonly onResume: () => void;
}

const DEFAULTS: SearchSettings = { maxLength: 12, dim: 32, learningRate: 5e-3, seed: 1 };
const CHOICES = {
  maxLength: { label: 'Steps of the longest sequence', values: [8, 12, 16, 24, 32, 64] },
  dim: { label: 'Width of both models', values: [16, 32, 64, 128] },
  learningRate: { label: 'Learning rate', values: [1e-3, 2e-3, 5e-3, 1e-2, 2e-2] },
  seed: { label: 'Seed', values: [1, 2, 3, 4, 5] },
} as const;

export function SearchForm({ phase, onStart, onStop, onResume }: SearchFormProps) {
  const [settings, setSettings] = useState(DEFAULTS);
  const isRunning = phase === 'training' || phase === 'stopping';
  return (
    <form
      class="search-form"
      onSubmit={(event) => {
        event.preventDefault();
        onStart(settings);
      }}
    >
      {(Object.keys(CHOICES) as (keyof SearchSettings)[]).map((name) => (
        <label key={name}>
          {CHOICES[name].label}
          <select
            value={settings[name]}
            disabled={isRunning}
            onChange={(event) => setSettings({ ...settings, [name]: Number(event.currentTarget.value) })}
          >
            {CHOICES[name].values.map((value) => (
              <option key={value} value={value}>
                {value}
              </option>
            ))}
          </select>
        </label>
      ))}
      <div class="search-buttons">
        {isRunning ? (
          <button type="button" disabled={phase === 'stopping'} onClick={onStop}>
            Stop
          </button>
        ) : (
          <button type="submit">{phase === 'new' ? 'Train both' : 'Start anew'}</button>
        )}
        {phase === 'stopped' && (
          <button type="button" onClick={onResume}>
            Resume
          </button>
        )}
      </div>
    </form>
  );
}
