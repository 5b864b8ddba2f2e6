/**
 * @file The text that was read, token by token: earlier ones shaded by what the read at the token looked at returned of them,
 * later ones by what their reads returned of it.
 */
import { useEffect, useRef } from 'preact/hooks';
import { shade } from '../plots/colours.js';
import { weightsAround } from './reads.js';
import type { TokenProps } from './shared-props.js';

interface TokenTextProps extends TokenProps {
  /** The token that was picked, whatever is pointed at. */
  readonly picked: number;
}

export function TokenText({ series, tokens, token, picked, onPoint, onPick }: TokenTextProps) {
  const list = useRef<HTMLDivElement>(null);
  const { weights, top } = weightsAround(series, token);
  useEffect(() => {
    const shown = list.current?.children[picked] as HTMLElement | undefined;
    shown?.scrollIntoView({ block: 'nearest' });
  }, [picked]);

  const onKeyDown = (event: KeyboardEvent): void => {
    const last = tokens.length - 1;
    const moved = { ArrowRight: picked + 1, ArrowLeft: picked - 1, ArrowDown: picked + 10, ArrowUp: picked - 10, Home: 0, End: last };
    const next = moved[event.key as keyof typeof moved];
    if (next === undefined) return;
    event.preventDefault();
    onPoint(null);
    onPick(Math.max(0, Math.min(last, next)));
  };
  return (
    <>
      <div>
        <h2 id="memory-tokens">The text, as this head sees it</h2>
        <p class="hint">
          Point at a token, or move with the arrow keys. <b>Before it</b>: what its read returned. <b>After it</b>: where what it
          wrote was read. Blue adds, orange takes away.
        </p>
      </div>
      <div
        ref={list}
        class="memory-text"
        role="listbox"
        aria-labelledby="memory-tokens"
        aria-activedescendant={`memory-token-${picked}`}
        tabIndex={0}
        onKeyDown={onKeyDown}
        onMouseLeave={() => onPoint(null)}
      >
        {tokens.map((text, index) => (
          <span
            key={index}
            id={`memory-token-${index}`}
            role="option"
            aria-selected={index === picked}
            aria-label={`token ${index + 1}: ${text.trim() === '' ? 'white space' : text}`}
            class={index === token ? 'is-looked-at' : undefined}
            style={index === token ? {} : { backgroundColor: shade(top === 0 ? 0 : weights[index]! / top) }}
            onMouseEnter={() => onPoint(index)}
            onClick={() => onPick(index)}
          >
            {text === '' ? '·' : text.replaceAll('\n', '⏎\n')}
          </span>
        ))}
      </div>
    </>
  );
}
