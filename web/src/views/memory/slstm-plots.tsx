/** @file One sLSTM head over the text: gates and states of all units as maps, those of one unit as curves, and all reads. */
import { useMemo, useState } from 'preact/hooks';
import type { SlstmSeries } from '../../protocol-memory.js';
import { Chart } from '../plots/chart.js';
import { HeatMap } from '../plots/heat-map.js';
import { offDiagonal } from './mlstm-plots.js';
import { visible, type TokenProps } from './shared-props.js';

const STATES = ['z', 'c', 'n', 'm', 'h'] as const;
const TITLES = { z: 'Written z', c: 'Cell c', n: 'Normaliser n', m: 'Stabiliser m', h: 'Output h' } as const;

export function SlstmPlots({ series, tokens, token, onPoint, onPick }: TokenProps<SlstmSeries>) {
  const { units } = series;
  const T = tokens.length;
  const [unit, setUnit] = useState(0);
  const maps = useMemo(() => mapsOf(series), [series]);
  const life = useMemo(() => quantiles(series.halfLife, units), [series]);
  const top = useMemo(() => offDiagonal(series.reads, T), [series]);
  const one = useMemo(() => unitOf(series, unit), [series, unit]);
  const chart = { marked: token, onPoint, onPick, description: 'One value per token of the text.' };
  const map = {
    ...{ rows: units, columns: T, marked: token, height: Math.max(80, Math.min(160, units * 5)) },
    description: 'A row for each unit, a column for each token.',
    name: (row: number, column: number) => `unit ${row + 1}, ${visible(tokens[column]!)} (${column + 1})`,
    onPoint,
    onPick: (column: number, row: number) => {
      onPick(column);
      setUnit(row);
    },
  };
  return (
    <>
      <section class="card memory-grid" aria-label="Gates and states of all units">
        <Chart
          {...chart}
          title="Half-life over the units, in tokens"
          isLog
          curves={[
            { label: 'nine tenths', values: life.high, colour: 'ink', dash: [4, 3] },
            { label: 'middle', values: life.median, colour: 'positive' },
            { label: 'a tenth', values: life.low, colour: 'ink', dash: [4, 3] },
          ]}
        />
        <HeatMap {...map} title="Forget gate f" values={maps.forget} top={1} />
        <HeatMap {...map} title="Input gate, exponent" values={maps.logInput} />
        {STATES.map((state) => (
          <HeatMap key={state} {...map} title={TITLES[state]} values={maps[state]} />
        ))}
      </section>
      <section class="card" aria-label="One unit">
        <label class="memory-unit">
          Unit{' '}
          <input
            type="number"
            min={1}
            max={units}
            value={unit + 1}
            onInput={(event) => {
              const value = Math.round(Number(event.currentTarget.value));
              if (value >= 1 && value <= units) setUnit(value - 1);
            }}
          />{' '}
          of {units}, or click on a row above
        </label>
        <div class="memory-grid">
          <Chart
            {...chart}
            title={`Unit ${unit + 1}: what it holds, c / n, and gives, h`}
            span={[-1, 1]}
            curves={[
              { label: 'c / n', values: one.held, colour: 'positive' },
              { label: 'h', values: one.h, colour: 'negative' },
            ]}
          />
          <Chart
            {...chart}
            title={`Unit ${unit + 1}: gates`}
            span={[0, 1]}
            curves={[
              { label: 'forget f', values: one.forget, colour: 'positive' },
              { label: 'output o', values: one.o, colour: 'third' },
            ]}
          />
          <Chart
            {...chart}
            title={`Unit ${unit + 1}: cell and normaliser`}
            curves={[
              { label: 'c', values: one.c, colour: 'positive' },
              { label: 'n', values: one.n, colour: 'third' },
            ]}
          />
          <Chart
            {...chart}
            title={`Unit ${unit + 1}: stabiliser and input gate`}
            curves={[
              { label: 'm', values: one.m, colour: 'ink' },
              { label: 'ln i', values: one.logInput, colour: 'negative' },
            ]}
          />
        </div>
      </section>
      <section class="card memory-reads" aria-label="Reads">
        <HeatMap
          title="All reads, mean share over the units"
          description="A row for each token that reads, a column for each token that wrote."
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
          A row for each token that reads, a column for each token that wrote. The shares of a row sum to 1: what a unit
          holds is a weighted mean of what was written.
        </p>
      </section>
    </>
  );
}

/** [units,T] of values [T,units]. */
function turned(values: Float32Array, units: number): Float32Array {
  const T = values.length / units;
  return Float32Array.from({ length: values.length }, (_, at) => values[(at % T) * units + Math.floor(at / T)]!);
}

const mapsOf = (series: SlstmSeries) => ({
  forget: turned(series.forget, series.units),
  logInput: turned(series.logInput, series.units),
  z: turned(series.z, series.units),
  c: turned(series.c, series.units),
  n: turned(series.n, series.units),
  m: turned(series.m, series.units),
  h: turned(series.h, series.units),
});

/** The series of one unit, [T] each, and what it holds: c / n. */
function unitOf(series: SlstmSeries, unit: number) {
  const of = (values: Float32Array): Float32Array =>
    Float32Array.from({ length: values.length / series.units }, (_, t) => values[t * series.units + unit]!);
  const { forget, logInput, o, c, n, m, h } = series;
  const states = { c: of(c), n: of(n), m: of(m), h: of(h) };
  const held = states.c.map((value, t) => value / states.n[t]!);
  return { ...states, held, forget: of(forget), logInput: of(logInput), o: of(o) };
}

function quantiles(values: Float32Array, units: number): { low: number[]; median: number[]; high: number[] } {
  const rows = Array.from({ length: values.length / units }, (_, t) =>
    values.subarray(t * units, (t + 1) * units).toSorted(),
  );
  const at = (share: number): number[] => rows.map((row) => row[Math.round(share * (units - 1))]!);
  return { low: at(0.1), median: at(0.5), high: at(0.9) };
}
