/** @file How both models learn: their losses over the steps, and their errors on sequences that they were not trained on. */
import { useMemo } from 'preact/hooks';
import { SEARCH_MODELS, type PerModel, type SearchErrors } from '../../protocol-memory.js';
import { useObservable } from '../parts/observable.js';
import { Chart } from '../plots/chart.js';
import { short } from '../plots/numbers.js';
import type { SearchStore } from './search-store.js';

/** The squared error of always saying 0.5, where values are uniform between 0 and 1. */
const GUESS = 1 / 12;
const HEIGHT = 220;

export const MODEL_NAMES = { lstm: 'LSTM', slstm: 'sLSTM' } as const;
export const MODEL_COLOURS = { lstm: 'third', slstm: 'negative' } as const;

export function TrainingCurves({ store }: { readonly store: SearchStore }) {
  const { step, errors } = useObservable(store);
  const { x, losses } = store.history;
  const drawn = useMemo(() => {
    const guess = { label: 'always 0.5', values: x.map(() => GUESS), colour: 'ink' as const, dash: [4, 3] };
    const models = SEARCH_MODELS.map((kind) => ({
      ...{ label: MODEL_NAMES[kind], values: [...losses[kind]], colour: MODEL_COLOURS[kind] },
    }));
    return { x: [...x], curves: [guess, ...models] };
  }, [store.history, step]);
  return (
    <Chart
      {...drawn}
      title="Squared error in training"
      description={describe(errors, 'all')}
      xLabel="step"
      height={HEIGHT}
      span={[0, 0]}
    />
  );
}

export function MeasuredCurves({ store }: { readonly store: SearchStore }) {
  const { errors } = useObservable(store);
  const measured = store.history.errors;
  const drawn = useMemo(() => {
    const curves = SEARCH_MODELS.map((kind) => ({
      ...{ label: MODEL_NAMES[kind], colour: MODEL_COLOURS[kind] },
      values: measured.map((point) => point.errors[kind].revised),
    }));
    return { x: measured.map(({ step }) => step), curves };
  }, [store.history, errors]);
  return (
    <Chart
      {...drawn}
      title="… where a closer match arrives"
      description={describe(errors, 'revised')}
      xLabel="step; sequences not trained on"
      height={HEIGHT}
      span={[0, 0]}
    />
  );
}

const describe = (errors: PerModel<SearchErrors> | null, which: keyof SearchErrors): string =>
  errors === null
    ? 'Nothing was measured yet.'
    : `On sequences not trained on it is ${short(errors.lstm[which])} for the LSTM and ${short(errors.slstm[which])} for the sLSTM.`;

const ROWS = [
  { which: 'all', says: 'all' },
  { which: 'revised', says: 'a closer match arrives' },
  { which: 'kept', says: 'the nearest stays' },
] as const;

export const ErrorTable = ({ errors }: { readonly errors: PerModel<SearchErrors> }) => (
  <table>
    <caption>Squared error now, on 64 sequences not trained on</caption>
    <thead>
      <tr>
        <th scope="col">Steps</th>
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
