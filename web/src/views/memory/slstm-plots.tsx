/** @file One sLSTM head over the text: gates and states of all units as maps, those of one unit as curves, and all reads. */
import { useMemo, useState } from 'preact/hooks';
import type { SlstmSeries } from '../../protocol-memory.js';
import { Chart } from '../plots/chart.js';
import { HeatMap } from '../plots/heat-map.js';
import { InTurn } from '../plots/in-turn.js';
import { ReadsMap } from './reads-map.js';
import { visible, type TokenProps } from './shared-props.js';

/** What is shown of all units, with the largest value of the colours where it is known. */
const MAPS = [
  { of: 'forget', title: 'Forget gate f', top: 1 },
  { of: 'logInput', title: 'Input gate, exponent' },
  { of: 'z', title: 'Written z' },
  { of: 'c', title: 'Cell c' },
  { of: 'n', title: 'Normaliser n' },
  { of: 'm', title: 'Stabiliser m' },
  { of: 'h', title: 'Output h' },
] as const;

type SlstmProps = TokenProps<SlstmSeries>;

export function SlstmPlots(props: SlstmProps) {
  const [unit, setUnit] = useState(0);
  return (
    <>
      <section class="card memory-grid" aria-label="Gates and states of all units">
        <InTurn>
          <HalfLives {...props} />
        </InTurn>
        {MAPS.map(({ of, ...map }) => (
          <InTurn key={of}>
            <UnitsMap {...props} {...map} values={props.series[of]} onUnit={setUnit} />
          </InTurn>
        ))}
      </section>
      <InTurn>
        <OneUnit {...props} unit={unit} onUnit={setUnit} />
      </InTurn>
      <InTurn>
        <ReadsMap
          {...props}
          title="All reads, mean share over the units"
          says="The shares of a row sum to 1: what a unit holds is a weighted mean of what was written."
        />
      </InTurn>
    </>
  );
}

const curvesOf = ({ token, onPoint, onPick }: SlstmProps) => ({
  ...{ marked: token, onPoint, onPick },
  description: 'One value per token of the text.',
});

function HalfLives(props: SlstmProps) {
  const { series } = props;
  const life = useMemo(() => quantiles(series.halfLife, series.units), [series]);
  return (
    <Chart
      {...curvesOf(props)}
      title="Half-life over the units, in tokens"
      isLog
      curves={[
        { label: 'nine tenths', values: life.high, colour: 'ink', dash: [4, 3] },
        { label: 'middle', values: life.median, colour: 'positive' },
        { label: 'a tenth', values: life.low, colour: 'ink', dash: [4, 3] },
      ]}
    />
  );
}

interface UnitsMapProps extends SlstmProps {
  readonly title: string;
  /** [T,units] */
  readonly values: Float32Array;
  readonly top?: number;
  readonly onUnit: (unit: number) => void;
}

function UnitsMap({ series, tokens, token, onPoint, onPick, title, values, top, onUnit }: UnitsMapProps) {
  const { units } = series;
  const byUnit = useMemo(() => turned(values, units), [values]);
  return (
    <HeatMap
      {...{ title, values: byUnit, rows: units, columns: tokens.length, marked: token, onPoint }}
      {...(top === undefined ? {} : { top })}
      height={Math.max(80, Math.min(160, units * 5))}
      description="A row for each unit, a column for each token."
      name={(row, column) => `unit ${row + 1}, ${visible(tokens[column]!)} (${column + 1})`}
      onPick={(column, row) => {
        onPick(column);
        onUnit(row);
      }}
    />
  );
}

interface OneUnitProps extends SlstmProps {
  readonly unit: number;
  readonly onUnit: (unit: number) => void;
}

function OneUnit({ unit, onUnit, ...props }: OneUnitProps) {
  const { series } = props;
  const { units } = series;
  const one = useMemo(() => unitOf(series, unit), [series, unit]);
  const chart = curvesOf(props);
  return (
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
            if (value >= 1 && value <= units) onUnit(value - 1);
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
  );
}

/** [units,T] of values [T,units]. */
function turned(values: Float32Array, units: number): Float32Array {
  const T = values.length / units;
  return Float32Array.from({ length: values.length }, (_, at) => values[(at % T) * units + Math.floor(at / T)]!);
}

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
