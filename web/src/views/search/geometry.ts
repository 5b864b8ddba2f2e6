/** @file Directions and angles of the vectors of a sequence. */
import type { DrawnSequence } from '../../protocol-memory.js';

export const directionOf = ({ vectors }: DrawnSequence, step: number): [number, number] => [
  vectors[3 * step]!,
  vectors[3 * step + 1]!,
];

/** In degrees, from 0 to 180. */
export function angleToKey(sequence: DrawnSequence, step: number): number {
  const [[x, y], [keyX, keyY]] = [directionOf(sequence, step), directionOf(sequence, 0)];
  return (Math.acos(Math.max(-1, Math.min(1, x * keyX + y * keyY))) * 180) / Math.PI;
}

/** The step whose vector is nearest to the key of all from 1 to `step`. */
export const nearestStep = ({ closer }: DrawnSequence, step: number): number => closer.lastIndexOf(true, step);
