/** @file One mLSTM head over the text: gates, half-life, the matrix memory after any token, its normaliser, and all reads. */
import type { MlstmSeries } from '../../protocol-memory.js';
import { Chart } from '../plots/chart.js';
import { InTurn } from '../plots/in-turn.js';
import { MatrixPlayer } from './matrix-player.js';
import type { MemoryStore } from './memory-store.js';
import { ReadsMap } from './reads-map.js';
import type { TokenProps } from './shared-props.js';

interface MlstmPlotsProps extends TokenProps<MlstmSeries> {
  readonly store: MemoryStore;
}

export function MlstmPlots({ series, tokens, token, onPoint, onPick, store }: MlstmPlotsProps) {
  const chart = { marked: token, onPoint, onPick, description: 'One value per token of the text.' };
  return (
    <>
      <InTurn>
        <section class="card" aria-label="Matrix memory">
          <MatrixPlayer {...{ store, tokens, token }}>
            <Chart
              {...chart}
              title="Size of the memory"
              span={[0, 0]}
              curves={[
                { label: 'matrix C', values: series.memory, colour: 'positive' },
                { label: 'normaliser n', values: series.normaliser, colour: 'third' },
                { label: 'written', values: series.written, colour: 'negative' },
              ]}
            />
            <Chart
              {...chart}
              title="What reads are divided by"
              isLog
              curves={[{ label: 'max(|q·n|, exp(−m))', values: series.denominator, colour: 'third' }]}
            />
          </MatrixPlayer>
        </section>
      </InTurn>
      <InTurn>
        <section class="card memory-grid" aria-label="Gates and normaliser">
          <Chart
            {...chart}
            title="Half-life, in tokens"
            isLog
            curves={[{ label: 'half-life', values: series.halfLife, colour: 'positive' }]}
          />
          <Chart
            {...chart}
            title="Forget gate"
            span={[Math.min(0.9, ...series.forget), 1]}
            curves={[{ label: 'forget gate', values: series.forget, colour: 'positive' }]}
          />
          <Chart
            {...chart}
            title="Input gate, exponent"
            curves={[{ label: 'ln i', values: series.logInput, colour: 'negative' }]}
          />
          <Chart
            {...chart}
            title="Gates on the stabilised memory"
            span={[0, 1]}
            curves={[
              { label: "keeps f'", values: series.f, colour: 'positive' },
              { label: "adds i'", values: series.i, colour: 'negative' },
            ]}
          />
          <Chart {...chart} title="Stabiliser m" curves={[{ label: 'm', values: series.m, colour: 'ink' }]} />
          <Chart
            {...chart}
            title="Forget gates summed up, ln"
            curves={[{ label: 'sum of ln f', values: series.logForgetSum, colour: 'ink' }]}
          />
        </section>
      </InTurn>
      <InTurn>
        <ReadsMap
          {...{ series, tokens, token, onPoint, onPick }}
          title="All reads"
          says="The diagonal is what a token read of itself; its colours end at the largest of the others."
        />
      </InTurn>
    </>
  );
}
