/** @file All steps of a sequence as a table: what arrives, what is right, and what each model holds. */
import { SEARCH_MODELS, type DrawnSequence } from '../../protocol-memory.js';
import { angleToKey } from './geometry.js';
import { MODEL_NAMES } from './loss-curves.js';

interface StepTableProps {
  readonly sequence: DrawnSequence;
  readonly step: number;
  readonly onPick: (step: number) => void;
}

export function StepTable({ sequence, step, onPick }: StepTableProps) {
  const { steps, vectors, right, closer, answers } = sequence;
  return (
    <table class="search-table">
      <thead>
        <tr>
          <th scope="col">Step</th>
          <th scope="col">From the key</th>
          <th scope="col">Its value</th>
          <th scope="col">Right</th>
          {SEARCH_MODELS.map((kind) => (
            <th key={kind} scope="col">
              {MODEL_NAMES[kind]}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {Array.from({ length: steps - 1 }, (_, k) => k + 1).map((at) => (
          <tr
            key={at}
            class={closer[at] ? 'is-closer' : ''}
            aria-current={at === step ? 'step' : undefined}
            onClick={() => onPick(at)}
          >
            <th scope="row">{at}</th>
            <td>
              {Math.round(angleToKey(sequence, at))}°{closer[at] && <em> {at === 1 ? 'first' : 'closer'}</em>}
            </td>
            <td>{vectors[3 * at + 2]!.toFixed(2)}</td>
            <td>{right[at]!.toFixed(2)}</td>
            {SEARCH_MODELS.map((kind) => (
              <td key={kind}>{answers[kind][at]!.toFixed(2)}</td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
