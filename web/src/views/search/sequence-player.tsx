/** @file One sequence step by step: the vectors around the key, the value that each model holds, and where it must change. */
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { SEARCH_MODELS, type DrawnSequence } from '../../protocol-memory.js';
import { Chart } from '../plots/chart.js';
import { MODEL_COLOURS, MODEL_NAMES } from './loss-curves.js';
import { Compass } from './compass.js';
import { angleToKey, nearestStep } from './geometry.js';
import { StepTable } from './step-table.js';

interface SequencePlayerProps {
  readonly sequence: DrawnSequence;
  readonly onNext: () => void;
}

const FRAME_MS = 700;

export function SequencePlayer({ sequence, onNext }: SequencePlayerProps) {
  const { number, steps, right, closer, answers } = sequence;
  const [chosen, setStep] = useState(1);
  const [isPlaying, setPlaying] = useState(false);
  const step = Math.min(chosen, steps - 1);
  const at = useRef(step);
  at.current = step;
  useEffect(() => setStep(1), [number]);
  useEffect(() => {
    if (!isPlaying) return undefined;
    const timer = setInterval(() => {
      if (at.current >= steps - 1) setPlaying(false);
      else setStep(at.current + 1);
    }, FRAME_MS);
    return () => clearInterval(timer);
  }, [isPlaying, steps]);

  const curves = useMemo(
    () => [
      { label: 'right value', values: right.slice(1), colour: 'ink' as const, isStepped: true },
      ...SEARCH_MODELS.map((kind) => ({
        ...{ label: MODEL_NAMES[kind], values: answers[kind].slice(1), colour: MODEL_COLOURS[kind] },
      })),
    ],
    [sequence],
  );
  const ticks = useMemo(() => closer.flatMap((is, t) => (is && t > 1 ? [t - 1] : [])), [sequence]);
  return (
    <section class="card" aria-label="One sequence">
      <div class="head">
        <h2>One sequence, step by step</h2>
        <p class="detail">not trained on; the answers are those of now</p>
      </div>
      <div class="search-player">
        <button
          type="button"
          onClick={() => {
            if (!isPlaying && step >= steps - 1) setStep(1);
            setPlaying(!isPlaying);
          }}
        >
          {isPlaying ? 'Pause' : 'Play'}
        </button>
        <input
          type="range"
          aria-label="Step"
          min={1}
          max={steps - 1}
          value={step}
          onInput={(event) => setStep(Number(event.currentTarget.value))}
        />
        <button type="button" onClick={onNext}>
          Another sequence
        </button>
      </div>
      <p class="search-says" aria-live={isPlaying ? 'off' : 'polite'}>
        {says(sequence, step)}
      </p>
      <div class="search-step">
        <Compass sequence={sequence} step={step} />
        <div>
          <Held name="Right" colour="ink" value={right[step]!} right={right[step]!} />
          {SEARCH_MODELS.map((kind) => (
            <Held
              key={kind}
              name={MODEL_NAMES[kind]}
              colour={MODEL_COLOURS[kind]}
              value={answers[kind][step]!}
              right={right[step]!}
            />
          ))}
          <Chart
            title="Value held after each step"
            description="The table below has the same numbers. Blue lines mark the steps at which a closer match arrives."
            curves={curves}
            span={[0, 1]}
            marked={step - 1}
            ticks={ticks}
            height={190}
            xLabel="step; blue: a closer match arrives"
            onPick={(index) => setStep(index + 1)}
          />
        </div>
      </div>
      <StepTable sequence={sequence} step={step} onPick={setStep} />
    </section>
  );
}

function says(sequence: DrawnSequence, step: number): string {
  const degrees = Math.round(angleToKey(sequence, step));
  const value = sequence.vectors[3 * step + 2]!.toFixed(2);
  const arrives = `Step ${step}: a vector ${degrees}° from the key, with the value ${value}.`;
  if (step === 1) return `${arrives} It is the first, so its value is to be held.`;
  if (sequence.closer[step]) {
    const before = Math.round(angleToKey(sequence, nearestStep(sequence, step - 1)));
    return `${arrives} It is a closer match than the one at ${before}°: the value held must change.`;
  }
  const nearest = nearestStep(sequence, step);
  return `${arrives} Step ${nearest} is nearer, at ${Math.round(angleToKey(sequence, nearest))}°: the value held must stay.`;
}

interface HeldProps {
  readonly name: string;
  readonly colour: string;
  readonly value: number;
  readonly right: number;
}

const Held = ({ name, colour, value, right }: HeldProps) => (
  <div class="search-held">
    <span>{name}</span>
    <span class="search-held-bar" aria-hidden="true">
      <i style={{ width: `${100 * Math.max(0, Math.min(1, value))}%`, background: `var(--plot-${colour})` }} />
      <u style={{ left: `${100 * right}%` }} />
    </span>
    <b>{value.toFixed(2)}</b>
  </div>
);
