/** @file The matrix memory of an mLSTM head after a token, with its normaliser, as a film over the text. */
import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { MemoryMatrix } from '../../protocol-memory.js';
import { HeatMap } from '../plots/heat-map.js';
import type { MemoryStore, Place } from './memory-store.js';
import { useObservable } from '../parts/observable.js';
import { visible } from './shared-props.js';

interface MatrixPlayerProps {
  readonly store: MemoryStore;
  readonly tokens: readonly string[];
  readonly token: number;
  /** What is to stand beside the matrix. */
  readonly children: ComponentChildren;
}

const FRAME_MS = 120;

export function MatrixPlayer({ store, tokens, token, children }: MatrixPlayerProps) {
  const { place, trace } = useObservable(store);
  const matrix = useMatrix(store, place, token, trace);
  const onPick = (next: number): void => store.pickToken(next);
  const [isPlaying, setPlaying] = useState(false);
  const at = useRef(token);
  at.current = token;
  const last = tokens.length - 1;

  useEffect(() => {
    if (!isPlaying) return undefined;
    const timer = setInterval(() => {
      if (at.current >= last) setPlaying(false);
      else onPick(at.current + 1);
    }, FRAME_MS);
    return () => clearInterval(timer);
  }, [isPlaying, last]);

  const play = (): void => {
    if (!isPlaying && token >= last) onPick(0);
    setPlaying(!isPlaying);
  };
  return (
    <>
      <div class="memory-player">
        <button type="button" onClick={play}>
          {isPlaying ? 'Pause' : 'Play'}
        </button>
        <input
          type="range"
          aria-label="Token after which the memory is shown"
          aria-valuetext={`token ${token + 1}: ${visible(tokens[token]!)}`}
          min={0}
          max={last}
          value={token}
          onInput={({ currentTarget }) => onPick(Number(currentTarget.value))}
        />
        <output>
          {token + 1} of {tokens.length}
        </output>
      </div>
      <div class="memory-matrix">
        {matrix === null ? <div /> : <MatrixMaps matrix={matrix} />}
        <div class="memory-beside">{children}</div>
      </div>
    </>
  );
}

/** Beside each other with rows in line: the matrix, and the normaliser as one column. */
const MatrixMaps = ({ matrix: { rows, columns, C, n } }: { readonly matrix: MemoryMatrix }) => (
  <div class="memory-maps">
    <HeatMap
      title={`Matrix C, ${rows} × ${columns}`}
      description="A row for each component of a key, a column for each component of a value."
      values={C}
      rows={rows}
      columns={columns}
      name={(row, column) => `key ${row + 1}, value ${column + 1}`}
    />
    <HeatMap
      title="n"
      description="The normaliser: a row for each component of a key."
      values={n}
      rows={rows}
      columns={1}
      height="full"
      isBare
      name={(row) => `key ${row + 1}`}
    />
  </div>
);

/** The latest matrix there is; while one is on its way, further tokens wait and only the last of them is asked for. */
function useMatrix({ call }: MemoryStore, { block, head }: Place, token: number, trace: unknown): MemoryMatrix | null {
  const [matrix, setMatrix] = useState<MemoryMatrix | null>(null);
  const wanted = useRef({ block, head, token });
  const isBusy = useRef(false);
  useEffect(() => {
    wanted.current = { block, head, token };
    const ask = async (): Promise<void> => {
      if (isBusy.current) return;
      isBusy.current = true;
      let asked;
      do {
        asked = wanted.current;
        setMatrix(await call('memoryMatrix', asked));
      } while (asked !== wanted.current);
      isBusy.current = false;
    };
    // A failure is shown by the request for the head itself.
    ask().catch(() => (isBusy.current = false));
  }, [block, head, token, trace]);
  return matrix;
}
