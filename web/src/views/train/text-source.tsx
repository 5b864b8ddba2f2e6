/** @file Which text to train on: a file that is dropped or chosen, or the one that is offered. */
import { useId } from 'preact/hooks';
import { formatBytes } from '../../../../src/format.js';
import type { OfferedText, TextChoice } from '../../protocol.js';
import { Drop } from '../parts/drop.js';

/** `vite.config.ts` puts it beside the page. */
export const OFFERED: OfferedText = { name: 'State of the Union', url: new URL('sotu.txt', document.baseURI).href };
const ABOUT_OFFERED = `Addresses of the presidents since ${import.meta.env.FIRST_YEAR as number}`;

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
          <strong>{text.name}</strong>
          <small>{text instanceof File ? formatBytes(text.size) : ABOUT_OFFERED}</small>
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
          {text instanceof File && (
            <button type="button" class="quiet" onClick={() => onChange(OFFERED)}>
              Take the offered one
            </button>
          )}
        </div>
        <p class="hint">or drop a text file here; it stays on this machine</p>
      </Drop>
    </fieldset>
  );
}
