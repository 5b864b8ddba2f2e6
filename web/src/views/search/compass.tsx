/** @file The vectors of a sequence up to a step on the unit circle, with the key and the nearest of them. */
import type { DrawnSequence } from '../../protocol-memory.js';
import { angleToKey, directionOf, nearestStep } from './geometry.js';

const RADIUS = 80;

export function Compass({ sequence, step }: { readonly sequence: DrawnSequence; readonly step: number }) {
  const place = (at: number): { x: number; y: number } => {
    const [x, y] = directionOf(sequence, at);
    return { x: RADIUS * x, y: -RADIUS * y };
  };
  const [key, nearest] = [place(0), nearestStep(sequence, step)];
  const description =
    `The key and ${step} vectors around a circle. The nearest is that of step ${nearest}, ` +
    `${Math.round(angleToKey(sequence, nearest))} degrees from the key.`;
  return (
    <svg class="search-compass" viewBox="-112 -112 224 224" role="img" aria-label={description}>
      <circle class="compass-circle" r={RADIUS} />
      <line class="compass-key" x2={key.x} y2={key.y} />
      <text class="compass-label" x={key.x * 1.22} y={key.y * 1.22}>
        key
      </text>
      <path class="compass-arc" d={arc(key, place(nearest))} />
      {Array.from({ length: step }, (_, k) => k + 1).map((at) => {
        const { x, y } = place(at);
        const kind = at === nearest ? 'is-nearest' : at === step ? 'is-new' : '';
        return (
          <g key={at} class={`compass-vector ${kind}`}>
            <circle cx={x} cy={y} r={kind === '' ? 4 : 6} />
            {kind !== '' && (
              <text class="compass-label" x={x * 1.22} y={y * 1.22}>
                {at}
              </text>
            )}
          </g>
        );
      })}
    </svg>
  );
}

type Point = Readonly<Record<'x' | 'y', number>>;

/** The short way round the circle, a little inside of it. */
function arc(from: Point, to: Point): string {
  const sweep = from.x * to.y - from.y * to.x > 0 ? 1 : 0;
  const r = 0.82;
  return `M ${r * from.x} ${r * from.y} A ${r * RADIUS} ${r * RADIUS} 0 0 ${sweep} ${r * to.x} ${r * to.y}`;
}
