/** @file The blocks of a model, clicked together: chips in the order of the blocks, removed by a click or the keyboard. */
import { useRef } from 'preact/hooks';
import type { Letter } from '../../protocol.js';
import { MOST_BLOCKS } from './settings.js';

const KINDS: readonly { readonly letter: Letter; readonly name: string; readonly what: string }[] = [
  { letter: 'm', name: 'mLSTM', what: 'matrix memory, parallel over time' },
  { letter: 's', name: 'sLSTM', what: 'scalar memory with exponential gates, mixes within heads' },
  { letter: 'l', name: 'LSTM', what: 'the classic cell' },
];

const nameOf = (letter: Letter): string => KINDS.find((kind) => kind.letter === letter)!.name;

interface Props {
  readonly blocks: readonly Letter[];
  onChange(blocks: Letter[]): void;
}

export function Blocks({ blocks, onChange }: Props) {
  const list = useRef<HTMLOListElement>(null);
  const focus = (index: number): void => {
    const chips = list.current?.querySelectorAll('button') ?? [];
    chips[Math.min(Math.max(index, 0), chips.length - 1)]?.focus();
  };
  const remove = (index: number): void => {
    onChange(blocks.filter((_, k) => k !== index));
    requestAnimationFrame(() => focus(index));
  };
  const onKey = (event: KeyboardEvent, index: number): void => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === 'Delete' || event.key === 'Backspace') remove(index);
    else if (step === undefined) return;
    else if (event.altKey) {
      onChange(moved(blocks, index, index + step));
      requestAnimationFrame(() => focus(index + step));
    } else focus(index + step);
    event.preventDefault();
  };
  return (
    <fieldset>
      <legend>Blocks</legend>
      <ol class="chips" ref={list} aria-label="Blocks of the model, first to last">
        {blocks.map((letter, k) => (
          <li key={k}>
            <button
              type="button"
              class={`chip ${letter}`}
              aria-label={`Block ${k + 1}, ${nameOf(letter)}: remove`}
              title={`${nameOf(letter)}: click or Delete removes it, Alt and an arrow moves it`}
              onClick={() => remove(k)}
              onKeyDown={(event) => onKey(event, k)}
            >
              {letter}
              <span aria-hidden="true">×</span>
            </button>
          </li>
        ))}
        {blocks.length === 0 && <li class="hint">No blocks yet</li>}
      </ol>
      <div class="adders">
        {KINDS.map(({ letter, name, what }) => (
          <button
            key={letter}
            type="button"
            class={`adder ${letter}`}
            title={what}
            aria-label={`Add a block: ${name}, ${what}`}
            disabled={blocks.length >= MOST_BLOCKS}
            onClick={() => onChange([...blocks, letter])}
          >
            + {name}
          </button>
        ))}
      </div>
    </fieldset>
  );
}

/** The blocks with one moved; the same where its new place is none. */
function moved(blocks: readonly Letter[], from: number, to: number): Letter[] {
  const next = [...blocks];
  if (to < 0 || to >= next.length) return next;
  const [block] = next.splice(from, 1);
  next.splice(to, 0, block!);
  return next;
}
