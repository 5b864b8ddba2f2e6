/** @file Which text to train on: a file that is dropped or chosen, or the one that is offered. */
import { useId } from 'preact/hooks';
import { formatBytes } from '../../../../src/format.js';
import type { TextChoice } from '../../protocol.js';
import { Drop } from '../parts/drop.js';

interface Props {
  readonly text: TextChoice;
  onChange(text: TextChoice): void;
}

export function TextSource({ text, onChange }: Props) {
  const id = useId();
  const take = (files: ArrayLike<File> | null): void => {
    if (files?.[0] !== undefined) onChange(files[0]);
  };
  return (
    <fieldset>
      <legend>Text</legend>
      <Drop onFiles={take}>
        <p class="chosen">
          {text === 'offered' ? (
            <>
              <strong>State of the Union</strong>
              <small>Addresses since 1961, 2.2 MB</small>
            </>
          ) : (
            <>
              <strong>{text.name}</strong>
              <small>{formatBytes(text.size)}</small>
            </>
          )}
        </p>
        <div class="pickers">
          <label class="button" for={id}>
            Choose a file
          </label>
          <input
            id={id}
            class="unseen"
            type="file"
            accept="text/*,.txt,.md,.csv,.json,.jsonl"
            onChange={({ currentTarget }) => {
              take(currentTarget.files);
              currentTarget.value = ''; // so that the same file can be chosen again
            }}
          />
          {text !== 'offered' && (
            <button type="button" class="quiet" onClick={() => onChange('offered')}>
              Take the offered one
            </button>
          )}
        </div>
        <p class="hint">or drop a text file here; it stays on this machine</p>
      </Drop>
    </fieldset>
  );
}
