// The cells: one step of one unit, forward and backward. sLSTM: arXiv 2405.04517 eq. 8-17 with log f = logsigmoid(f~);
// LSTM: eq. 28-33. FAST takes the hardware's approximations of exp, log and division (relative error about 1e-6), which
// vanish beside activations stored in bf16.
#ifndef XL_CUDA_RECURRENT_CELL_CUH
#define XL_CUDA_RECURRENT_CELL_CUH
#include "recurrent.cuh"

namespace xl {

// Computed here, not later: what needs no other block is done before the wait for them.
__device__ inline void settle(float &x) { asm volatile("" : "+f"(x)); }

template <bool FAST>
__device__ inline float exponential(float x) {
  if constexpr (!FAST) return expf(x);
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * 1.44269504f));
  return y;
}
template <bool FAST>
__device__ inline float inverse(float x) {
  if constexpr (!FAST) return 1.0f / x;
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// log(1 + x) for x from 0 to 1
template <bool FAST>
__device__ inline float log_above_one(float x) {
  if constexpr (!FAST) return log1pf(x);
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(1.0f + x));
  return y * 0.693147181f;
}
template <bool FAST>
__device__ inline float sigmoid(float x) {
  return inverse<FAST>(1.0f + exponential<FAST>(-x));
}
template <bool FAST>
__device__ inline float hyperbolic_tangent(float x) {
  return FAST ? 1.0f - 2.0f * inverse<true>(1.0f + exponential<true>(2.0f * x)) : tanhf(x);
}

struct SlstmCell {
  static constexpr int STATES = 3;  // c n m, then h
  static constexpr int SAVED = 7;   // i' f' z o sigmoid(-f~) c n
  static constexpr int MEMORY = 2;  // c n: the last of SAVED
  static constexpr int CARRIED = 3;

  __host__ __device__ static float initial(int state) { return state == 2 ? -INFINITY : 0.0f; }

  // m = max(log f + m, i~);  c = f' c + i' z;  n = f' n + i';  h = o c / n.
  template <bool FAST>
  __device__ static float forward(const float (&gate)[GATES], float (&state)[STATES], float (&saved)[SAVED]) {
    // log sigmoid(f~) and sigmoid(-f~) share an exponential.
    const float e = exponential<FAST>(-fabsf(gate[1]));
    const float log_f = fminf(gate[1], 0.0f) - log_above_one<FAST>(e);
    const float shut = (gate[1] > 0.0f ? e : 1.0f) * inverse<FAST>(1.0f + e);
    // log f is added after m - m', which is exact where it matters: the rounding of m' does not add up over time.
    const float m = fmaxf(state[2] + log_f, gate[0]);
    const float f = exponential<FAST>((state[2] - m) + log_f), i = exponential<FAST>(gate[0] - m);
    const float z = hyperbolic_tangent<FAST>(gate[2]), o = sigmoid<FAST>(gate[3]);
    const float c = f * state[0] + i * z, n = f * state[1] + i;
    state[0] = c, state[1] = n, state[2] = m;
    saved[0] = i, saved[1] = f, saved[2] = z, saved[3] = o, saved[4] = shut, saved[5] = c, saved[6] = n;
    return FAST ? o * c * inverse<FAST>(n) : o * c / n;
  }

  // The last state is e^m (c, n) as a memory and m besides: a change of m alone changes the memory. What is left for m
  // is dm - (c dc + n dn); it goes back to whatever made the maximum, see backward().
  __device__ static void start(float (&carried)[CARRIED], const float (&last)[MEMORY]) {
    carried[2] -= last[0] * carried[0] + last[1] * carried[1];
  }

  // A step back is linear in dh and what is carried; its factors need neither.
  struct Linear {
    float f, i, dc, dn, di, df_c, df_n, dz, do_, shut;
    bool input;  // made the maximum: where i is 1
    __device__ void settle() {
      xl::settle(dc), xl::settle(dn), xl::settle(di), xl::settle(df_c), xl::settle(df_n), xl::settle(dz),
          xl::settle(do_);
    }
  };

  // `before` holds c and n of the step before.
  template <bool FAST>
  __device__ static Linear linear(const float (&saved)[SAVED], const float (&before)[MEMORY]) {
    const float i = saved[0], f = saved[1], z = saved[2], o = saved[3], shut = saved[4];
    // h = o c / n
    const float over_n = inverse<FAST>(saved[6]), ratio = saved[5] * over_n, share = o * over_n;
    // c = f c' + i z;  n = f n' + i, with i = exp(i~ - m), f = exp(log f + m' - m) for a fixed m
    const float forget = f * shut;
    return {f,
            i,
            share,
            share * ratio,
            i * z,
            forget * before[0],
            forget * before[1],
            i * (1.0f - z * z),
            ratio * o * (1.0f - o),
            shut,
            i == 1.0f};
  }

  // `carried` holds dc, dn and what is left for m.
  __device__ static void backward(float (&dgate)[GATES], float (&carried)[CARRIED], float dh, const Linear &by) {
    const float dc = carried[0] + dh * by.dc, dn = carried[1] - dh * by.dn;
    dgate[0] = by.di * dc + by.i * dn + (by.input ? carried[2] : 0.0f);
    dgate[1] = by.df_c * dc + by.df_n * dn + (by.input ? 0.0f : carried[2] * by.shut);
    dgate[2] = by.dz * dc;
    dgate[3] = by.do_ * dh;
    carried[0] = by.f * dc;
    carried[1] = by.f * dn;
    carried[2] = by.input ? 0.0f : carried[2];
  }

  // Cotangents of c, n, m that came in, from what is carried before the first step. An m of -infinity is no input.
  __device__ static void finish(float (&carried)[CARRIED], const float (&in)[STATES]) {
    const float dm = in[0] * carried[0] + in[1] * carried[1] + carried[2];
    carried[2] = in[2] > -INFINITY ? dm : 0.0f;
  }
};

struct LstmCell {
  static constexpr int STATES = 1;  // c, then h
  static constexpr int SAVED = 6;   // i f z o tanh(c) c
  static constexpr int MEMORY = 1;  // c: the last of SAVED
  static constexpr int CARRIED = 1;

  __host__ __device__ static float initial(int) { return 0.0f; }

  // c = f c + i z;  h = o tanh(c).
  template <bool FAST>
  __device__ static float forward(const float (&gate)[GATES], float (&state)[STATES], float (&saved)[SAVED]) {
    const float i = sigmoid<FAST>(gate[0]), f = sigmoid<FAST>(gate[1]);
    const float z = hyperbolic_tangent<FAST>(gate[2]), o = sigmoid<FAST>(gate[3]);
    const float c = f * state[0] + i * z, squashed = hyperbolic_tangent<FAST>(c);
    state[0] = c;
    saved[0] = i, saved[1] = f, saved[2] = z, saved[3] = o, saved[4] = squashed, saved[5] = c;
    return o * squashed;
  }

  __device__ static void start(float (&)[CARRIED], const float (&)[MEMORY]) {}

  // A step back is linear in dh and what is carried; its factors need neither.
  struct Linear {
    float f, dc, di, df, dz, do_;
    __device__ void settle() { xl::settle(dc), xl::settle(di), xl::settle(df), xl::settle(dz), xl::settle(do_); }
  };

  // `before` holds c of the step before.
  template <bool FAST>
  __device__ static Linear linear(const float (&saved)[SAVED], const float (&before)[MEMORY]) {
    const float i = saved[0], f = saved[1], z = saved[2], o = saved[3], squashed = saved[4];
    return {f,
            o * (1.0f - squashed * squashed),
            z * i * (1.0f - i),
            before[0] * f * (1.0f - f),
            i * (1.0f - z * z),
            squashed * o * (1.0f - o)};
  }

  // `carried` holds dc.
  __device__ static void backward(float (&dgate)[GATES], float (&carried)[CARRIED], float dh, const Linear &by) {
    const float dc = carried[0] + dh * by.dc;
    dgate[0] = by.di * dc;
    dgate[1] = by.df * dc;
    dgate[2] = by.dz * dc;
    dgate[3] = by.do_ * dh;
    carried[0] = by.f * dc;
  }

  __device__ static void finish(float (&)[CARRIED], const float (&)[STATES]) {}
};

}  // namespace xl
#endif
