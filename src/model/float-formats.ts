/** @file Conversions between the number formats of checkpoints and float32, exact or rounded to nearest even. */
import type { TensorArray } from './tensor-array.js';
import type { SafetensorsDtype } from './safetensors-header.js';

/** A copy of `data` as float32. */
export function toFloat32(data: TensorArray, dtype: SafetensorsDtype): Float32Array {
  const out = new Float32Array(data.length);
  const bits = new Uint32Array(out.buffer);
  if (dtype === 'BF16') {
    const halves = data as Uint16Array;
    for (let i = 0; i < halves.length; i++) bits[i] = halves[i]! << 16;
  } else if (dtype === 'F16') {
    const halves = data as Uint16Array;
    for (let i = 0; i < halves.length; i++) bits[i] = float16To32Bits(halves[i]!);
  } else if (data instanceof BigInt64Array || data instanceof BigUint64Array) {
    for (let i = 0; i < data.length; i++) out[i] = Number(data[i]);
  } else {
    out.set(data);
  }
  return out;
}

/** The float32 bits of a float16 (IEEE 754 binary16), exact: subnormals, infinities and NaN payloads included. */
function float16To32Bits(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0x1f) return sign | 0x7f800000 | (fraction << 13);
  if (exponent !== 0) return sign | ((exponent + 127 - 15) << 23) | (fraction << 13);
  if (fraction === 0) return sign;
  // Subnormal: fraction * 2^-24. Its highest bit becomes the implicit one of a normal float32.
  const shift = Math.clz32(fraction) - 21;
  return sign | ((127 - 14 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13);
}

/** Values as `dtype`, rounded to nearest even; what is too large for F16 becomes infinite. */
export function fromFloat32(values: Float32Array, dtype: 'F32' | 'BF16' | 'F16'): Float32Array | Uint16Array {
  if (dtype === 'F32') return values;
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  const convert = dtype === 'BF16' ? bfloat16Of : float16Of;
  for (let i = 0; i < out.length; i++) out[i] = convert(bits[i]!);
  return out;
}

/** The upper half of the bits, rounded; a NaN stays one. */
function bfloat16Of(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

function float16Of(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // rounds to 65536 or more
  if (magnitude < 0x38800000) {
    // Subnormal: a multiple of 2^-24. Adding 0.5 to the magnitude lets the float32 addition round to such a multiple.
    const [rounded] = new Uint32Array(Float32Array.of(magnitudeOf(magnitude) + 0.5).buffer);
    return sign | (rounded! - 0x3f000000);
  }
  return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
}

const magnitudeOf = (bits: number): number => new Float32Array(Uint32Array.of(bits).buffer)[0]!;
