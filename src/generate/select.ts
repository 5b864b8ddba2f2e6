/**
 * @file Partial selection: where a descending order would be cut, without sorting. A cut is found by value, so that the
 * caller can keep its own order; equals are kept from the front.
 */

/** What is above `value` is kept; of what is equal to it, from the front, until `rest` is used up. */
export interface Cut {
  readonly value: number;
  readonly rest: number;
}

/** Up to this size the k largest are held in a heap; beyond it, partitioning is faster. */
const HEAP = 512;

/** The cut that leaves the k largest of values[0, count); k must be below count. */
export function cutAfterLargest(values: Float64Array, count: number, k: number): Cut {
  return k <= HEAP ? heapCut(values, count, k) : cutAtMass(values, null, count, k);
}

/** A heap of k values with the smallest at the root: nearly every value is refused by one comparison. */
function heapCut(values: Float64Array, count: number, k: number): Cut {
  const heap = values.slice(0, k);
  for (let parent = (k >> 1) - 1; parent >= 0; parent--) siftDown(heap, parent);
  for (let i = k; i < count; i++) {
    const value = values[i]!;
    if (value > heap[0]!) {
      heap[0] = value;
      siftDown(heap, 0);
    }
  }
  const value = heap[0]!;
  return { value, rest: heap.reduce((equal, x) => equal + (x === value ? 1 : 0), 0) };
}

function siftDown(heap: Float64Array, start: number): void {
  const value = heap[start]!;
  let at = start;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && heap[child + 1]! < heap[child]!) child += 1;
    if (!(heap[child]! < value)) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = value;
}

let keyScratch = new Float64Array(0);
let weightScratch = new Float64Array(0);

/**
 * The cut after the first keys, largest first, whose weights add up to `mass` (quickselect by weight).
 * @param keys     [count]
 * @param weights  [count], none negative; null: each is 1
 * @param above    keys up to this one are known to lie behind the cut
 */
export function cutAtMass(
  keys: Float64Array,
  weights: Float64Array | null,
  count: number,
  mass: number,
  above = -Infinity,
): Cut {
  if (keyScratch.length < count) {
    keyScratch = new Float64Array(count);
    weightScratch = new Float64Array(count);
  }
  const k = keyScratch;
  const w = weightScratch;
  let n = 0;
  for (let i = 0; i < count; i++) {
    if (keys[i]! > above) {
      k[n] = keys[i]!;
      w[n++] = weights === null ? 1 : weights[i]!;
    }
  }
  let low = 0;
  let high = n; // the cut is in [low, high); what is before low is kept and weighs `held`
  let held = 0;
  while (low < high) {
    const pivot = median(k[low]!, k[(low + high) >> 1]!, k[high - 1]!);
    // [low, larger) > pivot, [larger, i) = pivot, [smaller, high) < pivot
    let larger = low;
    let smaller = high;
    let weightOfLarger = 0;
    let weightOfEqual = 0;
    for (let i = low; i < smaller;) {
      const key = k[i]!;
      if (key > pivot) {
        weightOfLarger += w[i]!;
        swap(k, w, i++, larger++);
      } else if (key < pivot) {
        swap(k, w, i, --smaller);
      } else {
        weightOfEqual += w[i++]!;
      }
    }
    if (held + weightOfLarger >= mass && larger > low) {
      high = larger;
      continue;
    }
    held += weightOfLarger;
    if (held + weightOfEqual >= mass) return { value: pivot, rest: mass - held };
    held += weightOfEqual;
    low = smaller;
  }
  return { value: above, rest: 0 }; // rounding: all together are a hair below the mass
}

function swap(k: Float64Array, w: Float64Array, a: number, b: number): void {
  const key = k[a]!;
  const weight = w[a]!;
  k[a] = k[b]!;
  w[a] = w[b]!;
  k[b] = key;
  w[b] = weight;
}

const median = (a: number, b: number, c: number): number => Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));
