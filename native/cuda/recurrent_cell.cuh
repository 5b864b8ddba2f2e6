// The cells: one step of one unit, forward and backward. sLSTM: arXiv 2405.04517 eq. 8-17 with log f = logsigmoid(f~);
// LSTM: eq. 28-33. FAST takes the hardware's approximations of exp, log and division (relative error about 1e-6), which
// vanish beside activations stored in bf16.
#ifndef XL_CUDA_RECURRENT_CELL_CUH
#define XL_CUDA_RECURRENT_CELL_CUH
#include "recurrent.cuh"

namespace xl {

template <bool FAST>
__device__ inline float exponential(float x) {
  return FAST ? __expf(x) : expf(x);
}
template <bool FAST>
__device__ inline float quotient(float a, float b) {
  return FAST ? __fdividef(a, b) : a / b;
}
template <bool FAST>
__device__ inline float sigmoid(float x) {
  return quotient<FAST>(1.0f, 1.0f + exponential<FAST>(fminf(-x, 80.0f)));
}
template <bool FAST>
__device__ inline float hyperbolic_tangent(float x) {
  return FAST ? 1.0f - __fdividef(2.0f, 1.0f + __expf(fminf(2.0f * x, 80.0f))) : tanhf(x);
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
    const float log_f = fminf(gate[1], 0.0f) - (FAST ? __logf(1.0f + e) : log1pf(e));
    const float shut = quotient<FAST>(gate[1] > 0.0f ? e : 1.0f, 1.0f + e);
    // log f is added after m - m', which is exact where it matters: the rounding of m' does not add up over time.
    const float m = fmaxf(state[2] + log_f, gate[0]);
    const float f = exponential<FAST>((state[2] - m) + log_f), i = exponential<FAST>(gate[0] - m);
    const float z = hyperbolic_tangent<FAST>(gate[2]), o = sigmoid<FAST>(gate[3]);
    const float c = f * state[0] + i * z, n = f * state[1] + i;
    state[0] = c, state[1] = n, state[2] = m;
    saved[0] = i, saved[1] = f, saved[2] = z, saved[3] = o, saved[4] = shut, saved[5] = c, saved[6] = n;
    return quotient<FAST>(o * c, n);
  }

  // The last state is e^m (c, n) as a memory and m besides: a change of m alone changes the memory. What is left for m
  // is dm - (c dc + n dn); it goes back to whatever made the maximum, see backward().
  __device__ static void start(float (&carried)[CARRIED], const float (&last)[MEMORY]) {
    carried[2] -= last[0] * carried[0] + last[1] * carried[1];
  }

  // `carried` holds dc, dn and what is left for m; `before` c and n of the step before.
  template <bool FAST>
  __device__ static void backward(float (&dgate)[GATES], float (&carried)[CARRIED], float dh,
                                  const float (&saved)[SAVED], const float (&before)[MEMORY]) {
    const float i = saved[0], f = saved[1], z = saved[2], o = saved[3], c = saved[5], n = saved[6];
    // h = o c / n
    const float inverse = quotient<FAST>(1.0f, n), ratio = c * inverse;
    const float dc = carried[0] + dh * o * inverse, dn = carried[1] - dh * o * ratio * inverse;
    // c = f c + i z;  n = f n + i, with i = exp(i~ - m), f = exp(log f + m' - m) for a fixed m;
    // m = max(log f + m', i~): the input gate made it where i is 1
    const bool input = i == 1.0f;
    dgate[0] = i * (z * dc + dn) + (input ? carried[2] : 0.0f);
    dgate[1] = (f * (before[0] * dc + before[1] * dn) + (input ? 0.0f : carried[2])) * saved[4];
    dgate[2] = dc * i * (1.0f - z * z);
    dgate[3] = dh * ratio * o * (1.0f - o);
    carried[0] = f * dc;
    carried[1] = f * dn;
    carried[2] = input ? 0.0f : carried[2];
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

  // `carried` holds dc; `before` c of the step before.
  template <bool FAST>
  __device__ static void backward(float (&dgate)[GATES], float (&carried)[CARRIED], float dh,
                                  const float (&saved)[SAVED], const float (&before)[MEMORY]) {
    const float i = saved[0], f = saved[1], z = saved[2], o = saved[3], squashed = saved[4];
    const float dc = carried[0] + dh * o * (1.0f - squashed * squashed);
    dgate[0] = dc * z * i * (1.0f - i);
    dgate[1] = dc * before[0] * f * (1.0f - f);
    dgate[2] = dc * i * (1.0f - z * z);
    dgate[3] = dh * squashed * o * (1.0f - o);
    carried[0] = f * dc;
  }

  __device__ static void finish(float (&)[CARRIED], const float (&)[STATES]) {}
};

}  // namespace xl
#endif
