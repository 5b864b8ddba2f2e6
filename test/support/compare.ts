/** @file The measure of error in all tests: RMS(error) / RMS(reference). */

/** @throws RangeError when the lengths differ. NaN where either holds one. */
export function relativeRms(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) throw new RangeError(`lengths ${actual.length} and ${expected.length} differ`);
  let error = 0;
  let norm = 0;
  for (let k = 0; k < actual.length; k++) {
    error += (actual[k]! - expected[k]!) ** 2;
    norm += expected[k]! ** 2;
  }
  return norm === 0 ? Math.sqrt(error) : Math.sqrt(error / norm);
}
