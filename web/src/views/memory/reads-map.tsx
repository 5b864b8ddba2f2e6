/** @file All reads of a head over the text: a row for each token that reads, a column for each that wrote. */
import { useMemo } from 'preact/hooks';
import { HeatMap } from '../plots/heat-map.js';
import { largest } from '../plots/numbers.js';
import { visible, type TokenProps } from './shared-props.js';

const AXES = 'A row for each token that reads, a column for each token that wrote.';

interface ReadsMapProps extends TokenProps {
  readonly title: string;
  /** Sentences on what is to be seen. */
  readonly says: string;
}

export function ReadsMap({ series, tokens, token, onPoint, onPick, title, says }: ReadsMapProps) {
  const T = tokens.length;
  const top = useMemo(() => offDiagonal(series.reads, T), [series]);
  return (
    <section class="card memory-reads" aria-label="Reads">
      <HeatMap
        title={title}
        description={AXES}
        values={series.reads}
        top={top}
        rows={T}
        columns={T}
        marked={token}
        name={(row, column) =>
          `${visible(tokens[row]!)} (${row + 1}) read of ${visible(tokens[column]!)} (${column + 1})`
        }
        onPoint={(column) => onPoint(column)}
        onPick={(column) => onPick(column)}
      />
      <p class="hint">
        {AXES} {says}
      </p>
    </section>
  );
}

/** Reads of the token itself are the largest and would hide the others. */
function offDiagonal(reads: Float32Array, T: number): number {
  return largest(reads.filter((_, at) => at % (T + 1) !== 0)) || largest(reads);
}
