/**
 * @file The text that was read, token by token: earlier ones shaded by what the read at the token looked at returned of them,
 * later ones by what their reads returned of it.
 */
import { useEffect, useRef } from 'preact/hooks';
import { shade } from '../plots/colours.js';
import { weightsAround } from './reads.js';
import type { TokenProps } from './shared-props.js';

/** Where a key leads, from the token that is picked. */
const MOVES: Readonly<Record<string, (from: number, all: HTMLCollection) => number>> = {
  ArrowRight: (from) => from + 1,
  ArrowLeft: (from) => from - 1,
  ArrowDown: (from, all) => inNextLine(from, all, 1),
  ArrowUp: (from, all) => inNextLine(from, all, -1),
  Home: () => 0,
  End: (_, all) => all.length - 1,
};

/** The token below, or above. */
function inNextLine(from: number, all: HTMLCollection, direction: 1 | -1): number {
  const place = (index: number): DOMRect => all[index]!.getClientRects()[0]!;
  const start = place(from);
  let best = from;
  let line: number | null = null;
  for (let index = from + direction; index >= 0 && index < all.length; index += direction) {
    const { top, left } = place(index);
    if (Math.abs(top - start.top) < 3) continue;
    if (line !== null && Math.abs(top - line) >= 3) break;
    if (line === null || Math.abs(left - start.left) < Math.abs(place(best).left - start.left)) best = index;
    line = top;
  }
  return best;
}

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
    const next = MOVES[event.key]?.(picked, list.current!.children);
    if (next === undefined) return;
    event.preventDefault();
    onPick(Math.max(0, Math.min(tokens.length - 1, next)));
  };
  return (
    <>
      <div>
        <h2 id="memory-tokens">The text, as this head sees it</h2>
        <p class="hint">
          Point at a token, or move with the arrow keys. <b>Before it</b>: what its read returned. <b>After it</b>:
          where what it wrote was read. Blue adds, orange takes away.
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
