/** @file How both models learn: their losses over the steps, and their errors on sequences that they were not trained on. */
import { useMemo } from 'preact/hooks';
import { SEARCH_MODELS, type PerModel, type SearchErrors } from '../../protocol-memory.js';
import { Chart } from '../plots/chart.js';
import { short } from '../plots/numbers.js';
import type { SearchHistory } from './search-history.js';

interface LossCurvesProps {
  readonly history: SearchHistory;
  /** Steps so far: the history is the same object as before. */
  readonly steps: number;
  readonly errors: PerModel<SearchErrors> | null;
}

/** The squared error of always saying 0.5, where values are uniform between 0 and 1. */
const GUESS = 1 / 12;

export const MODEL_NAMES = { lstm: 'LSTM', slstm: 'sLSTM' } as const;
export const MODEL_COLOURS = { lstm: 'negative', slstm: 'positive' } as const;

export function LossCurves({ history, steps, errors }: LossCurvesProps) {
  const training = useMemo(
    () => ({
      x: [...history.x],
      curves: [
        { label: 'always 0.5', values: history.x.map(() => GUESS), colour: 'ink' as const, dash: [4, 3] },
        ...SEARCH_MODELS.map((kind) => ({
          ...{ label: MODEL_NAMES[kind], values: [...history.losses[kind]], colour: MODEL_COLOURS[kind] },
        })),
      ],
    }),
    [history, steps],
  );
  const measured = useMemo(
    () => ({
      x: history.errors.map(({ step }) => step),
      curves: SEARCH_MODELS.map((kind) => ({
        ...{ label: MODEL_NAMES[kind], colour: MODEL_COLOURS[kind] },
        values: history.errors.map((point) => point.errors[kind].revised),
      })),
    }),
    [history, errors],
  );
  return (
    <div class="search-curves">
      <Chart
        {...training}
        title="Squared error in training"
        description={describe(errors, 'all')}
        xLabel="step"
        height={220}
        span={[0, 0]}
      />
      <Chart
        {...measured}
        title="Squared error where a closer match arrives, sequences not trained on"
        description={describe(errors, 'revised')}
        xLabel="step"
        height={220}
        span={[0, 0]}
      />
      {errors !== null && <ErrorTable errors={errors} />}
    </div>
  );
}

const describe = (errors: PerModel<SearchErrors> | null, which: keyof SearchErrors): string =>
  errors === null
    ? 'Nothing was measured yet.'
    : `On sequences not trained on it is ${short(errors.lstm[which])} for the LSTM and ${short(errors.slstm[which])} for the sLSTM.`;

const ROWS = [
  { which: 'all', says: 'all steps' },
  { which: 'revised', says: 'a closer match arrives' },
  { which: 'kept', says: 'the nearest stays' },
] as const;

const ErrorTable = ({ errors }: { readonly errors: PerModel<SearchErrors> }) => (
  <table class="search-errors">
    <caption>Squared error now, on 64 sequences not trained on</caption>
    <thead>
      <tr>
        <th scope="col">steps where</th>
        {SEARCH_MODELS.map((kind) => (
          <th key={kind} scope="col">
            {MODEL_NAMES[kind]}
          </th>
        ))}
      </tr>
    </thead>
    <tbody>
      {ROWS.map(({ which, says }) => (
        <tr key={which}>
          <th scope="row">{says}</th>
          {SEARCH_MODELS.map((kind) => (
            <td key={kind}>{short(errors[kind][which])}</td>
          ))}
        </tr>
      ))}
    </tbody>
  </table>
);
