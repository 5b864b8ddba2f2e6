/**
 * @file Elementary functions in WGSL, exact to a few units of float32 everywhere: those that WGSL has may be off by more
 * (exp by |x| units, sin by 2^-11), and may do what they like with infinities. No kernel here.
 */
import type { Constants } from './program.js';

/** exp, log, log1p, sigmoid, logsigmoid, tanh. */
export const MATH = `
const LOWEST = -3.0e38;
// e^x = 2^k e^r with |r| <= ln 2 / 2; ln 2 in two parts, so that r is exact. 0 below the normal numbers.
fn xl_exp(x: f32) -> f32 {
  if (x < -87.3) { return 0.0; }
  let k = round(min(x, 88.8) * 1.44269504);
  let r = (min(x, 88.8) - k * 0.693359375) + k * 2.12194440e-4;
  let series = 1.0 + r * (1.0 + r * (0.5 + r * (0.16666667 + r * (0.041666668 + r * (0.008333334 + r *
    (0.0013888889 + r * 1.9841270e-4))))));
  // In two factors, since 2^128 is no float.
  let half = i32(k) / 2;
  return series * bitcast<f32>((half + 127) << 23u) * bitcast<f32>((i32(k) - half + 127) << 23u);
}
// log x of a normal x > 0: x = 2^k m with m in [sqrt(1/2), sqrt 2), log m = 2 atanh((m - 1) / (m + 1)).
fn xl_log(x: f32) -> f32 {
  let bits = bitcast<i32>(x) - 0x3f3504f3;
  let k = bits >> 23u;
  let m = bitcast<f32>(bitcast<i32>(x) - (k << 23u));
  let s = (m - 1.0) / (m + 1.0);
  let z = s * s;
  let series = s * (2.0 + z * (0.66666667 + z * (0.4 + z * (0.28571429 + z * 0.22222222))));
  return f32(k) * 0.693359375 + (series - f32(k) * 2.12194440e-4);
}
// log(1 + u) for u in [0, 1], by 2 atanh(u / (2 + u)).
fn xl_log1p(u: f32) -> f32 {
  let s = u / (2.0 + u);
  let z = s * s;
  return s * (2.0 + z * (0.66666667 + z * (0.4 + z * (0.28571429 + z * (0.22222222 + z * (0.18181818 + z *
    (0.15384615 + z * (0.13333333 + z * 0.11764706))))))));
}
fn xl_sigmoid(x: f32) -> f32 {
  let e = xl_exp(-abs(x));
  return select(e, 1.0, x >= 0.0) / (1.0 + e);
}
fn xl_logsigmoid(x: f32) -> f32 { return min(x, 0.0) - xl_log1p(xl_exp(-abs(x))); }
// Near 0 a quotient of polynomials (Pade), beyond 1 - 2 / (e^2|x| + 1).
fn xl_tanh(x: f32) -> f32 {
  let a = min(abs(x), 20.0);
  if (a < 0.6) {
    let z = x * x;
    return x * (945.0 + z * (105.0 + z)) / (945.0 + z * (420.0 + z * 15.0));
  }
  return sign(x) * (1.0 - 2.0 / (xl_exp(2.0 * a) + 1.0));
}
`;

/** Sine and cosine for |x| up to 2^20. */
const CIRCULAR = `
// The 64-bit product of two words, high word first.
fn wide(a: u32, b: u32) -> vec2<u32> {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let m1 = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
  let m2 = (a & 0xffffu) * (b >> 16u) + (m1 & 0xffffu);
  return vec2<u32>((a >> 16u) * (b >> 16u) + (m1 >> 16u) + (m2 >> 16u), (m2 << 16u) | (low & 0xffffu));
}
// |x| as quarter turns: how many, and what is left in [-1/2, 1/2]. By integers, for a float loses it (Payne and Hanek).
fn quarters(x: f32) -> vec2<f32> {
  let bits = bitcast<u32>(abs(x));
  let exponent = i32(bits >> 23u) - 150;
  if (exponent < -24) { return vec2<f32>(0.0, abs(x) * 0.63661977); }
  let mantissa = (bits & 0x7fffffu) | 0x800000u;
  let shift = u32(clamp(-exponent, 1, 24));
  // mantissa * 2 / pi, with 64 bits behind the point
  let high = wide(mantissa, 0xa2f9836eu);
  let low = wide(mantissa, 0x4e441529u);
  let middle = high.y + low.x;
  let whole = high.x + select(0u, 1u, middle < high.y);
  var turns = whole >> shift;
  let fraction = (whole << (32u - shift)) | (middle >> shift);
  let rest = (middle << (32u - shift)) | (low.y >> shift);
  if ((fraction & 0x80000000u) == 0u) {
    return vec2<f32>(f32(turns & 3u), f32(fraction) * 2.3283064e-10 + f32(rest) * 5.4210109e-20);
  }
  turns += 1u;
  return vec2<f32>(f32(turns & 3u), -(f32(~fraction) * 2.3283064e-10 + f32(~rest) * 5.4210109e-20));
}
fn sine_of_quarter(turns: u32, rest: f32) -> f32 {
  let r = rest * 1.5707963268;
  let z = r * r;
  let sine = r * (1.0 + z * (-0.16666667 + z * (0.008333333 + z * (-1.9841270e-4 + z * 2.7557319e-6))));
  let cosine = 1.0 + z * (-0.5 + z * (0.041666667 + z * (-0.0013888889 + z * (2.4801587e-5 - z * 2.7557319e-7))));
  let value = select(sine, cosine, (turns & 1u) == 1u);
  return select(value, -value, (turns & 2u) == 2u);
}
fn xl_sin(x: f32) -> f32 {
  let q = quarters(x);
  let value = sine_of_quarter(u32(q.x), q.y);
  return select(value, -value, x < 0.0);
}
fn xl_cos(x: f32) -> f32 {
  let q = quarters(x);
  return sine_of_quarter(u32(q.x) + 1u, q.y);
}
`;

/** The upper tail of the standard normal distribution and its density. */
const NORMAL = `
// exp(-x^2 / 2); x^2 / 2 in two parts, for its rounding error would cost x^2 units.
fn gaussian(x: f32) -> f32 {
  let a = min(abs(x), 20.0);
  let high = bitcast<f32>(bitcast<u32>(a) & 0xfffff000u);
  return xl_exp(-0.5 * high * high) * xl_exp(-0.5 * (a - high) * (a + high));
}
// 1 - Phi(a) for a >= 0: exp(-a^2 / 2) times a slow function, a polynomial in (a - 3) / (a + 3) fitted over 0..15.
fn upper_tail(x: f32) -> f32 {
  let a = min(x, 15.0);
  let w = ((a - 3.0) / (a + 3.0) + 0.16666667) * 1.2;
  let series = 0.501460433 + w * (-0.0723855272 + w * (-0.0297365692 + w * (0.0349269435 + w * (-0.0108089047 + w *
    (-7.68649742e-4 + w * (0.00101358769 + w * (7.57067901e-5 + w * (-1.00299469e-4 + w * (-1.25643337e-5 + w *
    7.67542315e-6)))))))));
  return gaussian(x) * series / (1.0 + a);
}
fn normal_cdf(x: f32) -> f32 {
  let tail = upper_tail(abs(x));
  return select(tail, 1.0 - tail, x > 0.0);
}
`;

/** What the activations need, and each with its derivative, in the order of `Activation` of the contract. */
const ACTIVATIONS: readonly (readonly [uses: string, value: string, slope: string])[] = [
  ['', 'x', '1.0'],
  [MATH, 'x * xl_sigmoid(x)', 'xl_sigmoid(x) + x * xl_sigmoid(x) * xl_sigmoid(-x)'],
  [MATH + NORMAL, 'x * normal_cdf(x)', 'normal_cdf(x) + x * gaussian(x) * 0.39894228'],
  [MATH, 'xl_sigmoid(x)', 'xl_sigmoid(x) * xl_sigmoid(-x)'],
  // 1 - tanh^2, without its cancellation
  [MATH, 'xl_tanh(x)', '4.0 * xl_sigmoid(2.0 * x) * xl_sigmoid(-2.0 * x)'],
  ['', 'max(x, 0.0)', 'select(0.0, 1.0, x > 0.0)'],
  [MATH, 'xl_exp(x)', 'xl_exp(x)'],
  [MATH, '-xl_logsigmoid(-x)', 'xl_sigmoid(x)'],
  [MATH, 'xl_logsigmoid(x)', 'xl_sigmoid(-x)'],
  [MATH, 'select(xl_exp(min(x, 0.0)), x + 1.0, x > 0.0)', 'select(xl_exp(min(x, 0.0)), 1.0, x > 0.0)'],
  ['', 'max(x, 0.0) * max(x, 0.0)', '2.0 * max(x, 0.0)'],
  [CIRCULAR, 'xl_sin(x)', 'xl_cos(x)'],
];

/** `activate(x)` and `activate_slope(x)` of the constant ACTIVATION; other texts of functions may come with them. */
export function activations({ ACTIVATION }: Constants): string {
  const known = ACTIVATIONS[Number(ACTIVATION)];
  if (known === undefined)
    throw new RangeError(`activation: ${ACTIVATION} is not one of 0 to ${ACTIVATIONS.length - 1}`);
  const [uses, value, slope] = known;
  return `${uses}
fn activate(x: f32) -> f32 { return ${value}; }
fn activate_slope(x: f32) -> f32 { return ${slope}; }
`;
}
