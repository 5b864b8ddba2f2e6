// Gradient of the causal depthwise convolution. Four taps, the usual number, in one pass: 16 bytes per element in float32
// (dy, x, dx read and written), half in bfloat16, and partial sums of taps and bias, 20 bytes per channel and 32 steps.
// Other numbers of taps in three passes, one channel per thread: the gradient of the pre-activation goes to the
// workspace, dx gathers it, the taps' gradient sums it.
#include "conv1d.cuh"
#include "reduce.cuh"

using namespace xl;

namespace {

// dsum = dy * activation'(sum)
template <class T>
__global__ void __launch_bounds__(128) dsum_kernel(float *dsum, const T *dy, const Conv<T> conv) {
  const Place at(conv.T_, 1);
  if (at.d >= conv.D) return;
  for (int64_t t = at.begin; t < at.end; t++) {
    const int64_t e = (at.b * conv.T_ + t) * conv.D + at.d;
    store(dsum + e, load<1>(dy + e) * conv.derivative(conv.template sum<1>(at.b, t, at.d)));
  }
}

// What input(s) gets: from the steps that see it and from the state that it stays in.
template <class T>
__device__ Lanes<1> input_gradient(const Conv<T> &conv, const float *dsum, const float *dstate_out, int64_t b,
                                   int64_t s, int64_t d) {
  Lanes<1> total = splat<1>(0);
  bool hidden = false;
  for (int64_t ahead = 0; ahead < conv.K && s + ahead < conv.T_ && !hidden; ahead++) {
    if (s + ahead < 0) continue;
    if (ahead > 0 && conv.resets(b, s + ahead)) hidden = true;
    if (!hidden)
      total = total + conv.template tap<1>(conv.K - 1 - ahead, d) * load<1>(dsum + (b * conv.T_ + s + ahead) * conv.D + d);
  }
  // state_out[j] = input(T - (K-1) + j)
  const int64_t j = s - conv.T_ + conv.K - 1;
  if (dstate_out && j >= 0 && !hidden) total = total + load<1>(dstate_out + (b * (conv.K - 1) + j) * conv.D + d);
  return total;
}

template <class T>
__global__ void __launch_bounds__(128)
    dx_kernel(T *dx, const float *dsum, const float *dstate_out, const Conv<T> conv) {
  const Place at(conv.T_, 1);
  if (at.d >= conv.D) return;
  for (int64_t t = at.begin; t < at.end; t++)
    add(dx + (at.b * conv.T_ + t) * conv.D + at.d,
        input_gradient<T>(conv, dsum, dstate_out, at.b, t, at.d));
}

template <class T>
__global__ void __launch_bounds__(128)
    dstate_kernel(float *dstate_in, const float *dsum, const float *dstate_out, const Conv<T> conv) {
  const int64_t d = int64_t(blockIdx.y) * 128 + threadIdx.x, b = blockIdx.x;
  if (d >= conv.D) return;
  for (int64_t j = 0; j < conv.K - 1; j++)
    add(dstate_in + (b * (conv.K - 1) + j) * conv.D + d,
        input_gradient<T>(conv, dsum, dstate_out, b, j - (conv.K - 1), d));
}

// Partial sums of one tap's gradient over some rows (b,t), and of the bias's, which is tap K.
template <class T>
__global__ void __launch_bounds__(128)
    dweight_kernel(float *partials, const float *dsum, const Conv<T> conv, int64_t rows) {
  const int64_t d = int64_t(blockIdx.x) * 128 + threadIdx.x, j = blockIdx.z;
  if (d >= conv.D) return;
  const int64_t all = conv.B * conv.T_, begin = blockIdx.y * rows, end = begin + rows < all ? begin + rows : all;
  const int64_t back = conv.K - 1 - j;
  float total = 0;
  for (int64_t row = begin; row < end; row++) {
    const int64_t b = row / conv.T_, t = row % conv.T_;
    bool hidden = false;
    for (int64_t s = t; s > t - back; s--) hidden = hidden || conv.resets(b, s);
    if (j == conv.K)
      total += dsum[row * conv.D + d];
    else if (!hidden)
      total += dsum[row * conv.D + d] * conv.template input<1>(b, t - back, d)[0];
  }
  if (j == conv.K)
    partials[(int64_t(gridDim.y) * conv.K + blockIdx.y) * conv.D + d] = total;
  else
    partials[(blockIdx.y * conv.D + d) * conv.K + j] = total;
}

// Four taps in one pass: a thread goes through time with the last four inputs, what they have got so far, and the sums
// for the taps in registers. It goes on three steps beyond its own, since these still give to its last inputs.
template <class T>
struct Fused {
  static constexpr int K = 4, V = 4;
  Conv<T> conv;
  T *dx;
  float *dstate_in, *partials, *bias_partials;
  const T *dy;
  const float *dstate_out;

  // Writes the gradient of input(s), if it is this thread's; that of x began with what dx held.
  __device__ void finish(const Place &at, int64_t s, const Lanes<V> &gradient) const {
    if (s >= at.begin && s < at.end)
      store(dx + (at.b * conv.T_ + s) * conv.D + at.d, gradient);
    else if (s < 0 && at.begin == 0 && dstate_in)
      add(dstate_in + (at.b * (K - 1) + s + K - 1) * conv.D + at.d, gradient);
  }
};

template <class T>
__global__ void __launch_bounds__(128) fused_kernel(const Fused<T> f) {
  constexpr int K = Fused<T>::K, V = Fused<T>::V;
  const Conv<T> &conv = f.conv;
  const Place at(conv.T_, V);
  if (at.d >= conv.D) return;
  Lanes<V> inputs[K], pending[K], taps[K], dtaps[K];
  bool visible[K];
  const Lanes<V> bias = conv.bias ? load<V>(conv.bias + at.d) : splat<V>(0);
  Lanes<V> dbias = splat<V>(0);
#pragma unroll
  for (int j = 0; j < K; j++) {
    taps[j] = conv.template tap<V>(j, at.d);
    inputs[j] = pending[j] = dtaps[j] = splat<V>(0);
    visible[j] = false;
  }
#pragma unroll
  for (int j = 1; j < K; j++) {
    const int64_t s = at.begin - K + j;
    if (conv.resets(at.b, s))
#pragma unroll
      for (int i = 0; i < K; i++) visible[i] = false;
    inputs[j] = conv.template input<V>(at.b, s, at.d);
    visible[j] = true;
  }
  const int64_t last = at.end + K - 1 < conv.T_ ? at.end + K - 1 : conv.T_;
  constexpr int AHEAD = 2;  // steps whose loads are in flight together
  for (int64_t first = at.begin; first < last; first += AHEAD) {
    Lanes<V> x[AHEAD], dy[AHEAD], dx[AHEAD];
    bool resets[AHEAD];
#pragma unroll
    for (int k = 0; k < AHEAD; k++) {
      const int64_t t = first + k < last ? first + k : last - 1, e = (at.b * conv.T_ + t) * conv.D + at.d;
      x[k] = load<V>(conv.x + e);
      dy[k] = load<V>(f.dy + e);
      dx[k] = t < at.end ? load<V>(f.dx + e) : splat<V>(0);
      resets[k] = conv.resets(at.b, t);
    }
#pragma unroll
    for (int k = 0; k < AHEAD; k++) {
      const int64_t t = first + k;
      if (t >= last) break;
#pragma unroll
      for (int j = 0; j < K - 1; j++) {
        inputs[j] = inputs[j + 1];
        pending[j] = pending[j + 1];
        visible[j] = visible[j + 1] && !resets[k];
      }
      inputs[K - 1] = x[k];
      pending[K - 1] = dx[k];
      visible[K - 1] = true;
      Lanes<V> total = bias;
#pragma unroll
      for (int j = 0; j < K; j++)
        if (visible[j]) total = total + taps[j] * inputs[j];
      const Lanes<V> dsum = dy[k] * conv.derivative(total);
#pragma unroll
      for (int j = 0; j < K; j++) {
        if (!visible[j]) continue;
        pending[j] = pending[j] + taps[j] * dsum;
        if (t < at.end) dtaps[j] = dtaps[j] + dsum * inputs[j];
      }
      if (t < at.end) dbias = dbias + dsum;
      f.finish(at, t - (K - 1), pending[0]);
    }
  }
  // The inputs that no step after `last` sees.
#pragma unroll
  for (int j = 1; j < K; j++) {
    // state_out[j - 1] = input(T - K + j)
    if (f.dstate_out && last == conv.T_ && visible[j])
      pending[j] = pending[j] + load<V>(f.dstate_out + (at.b * (K - 1) + j - 1) * conv.D + at.d);
    f.finish(at, last - K + j, pending[j]);
  }
  const int64_t part = blockIdx.x;
#pragma unroll
  for (int l = 0; l < V; l++)
    store(f.partials + (part * conv.D + at.d + l) * K, Lanes<4>{dtaps[0][l], dtaps[1][l], dtaps[2][l], dtaps[3][l]});
  store(f.bias_partials + part * conv.D + at.d, dbias);
}

template <class T>
int fused_backward(const char *name, Fused<T> f, float *dweight, float *dbias) {
  const Conv<T> &conv = f.conv;
  const dim3 grid = grid_of(conv.B, conv.T_, conv.D, Fused<T>::V);
  const int64_t parts = grid.x;
  f.partials = static_cast<float *>(scratch(4 * parts * 5 * conv.D));
  if (!f.partials) return XL_OUT_OF_MEMORY;
  f.bias_partials = f.partials + parts * 4 * conv.D;
  fused_kernel<T><<<grid, 128, 0, stream()>>>(f);
  if (int status = add_partials(name, dweight, f.partials, parts, 4 * conv.D)) return status;
  return dbias ? add_partials(name, dbias, f.bias_partials, parts, conv.D) : launched(name);
}

template <class T>
int backward(const char *name, T *dx, float *dweight, float *dbias, float *dstate_in, const T *dy,
             const float *dstate_out, const Conv<T> &conv) {
  if (int status = check_conv(name, conv)) return status;
  const auto [x, weight, bias, state_in, reset, B, steps, D, K, activation] = conv;
  if (B <= 0) return XL_OK;
  if (K == 4 && steps > 0 && D % 4 == 0 && is_aligned(dx, dy, x, bias, state_in, dstate_in, dstate_out))
    return fused_backward<T>(name, {conv, dx, dstate_in, nullptr, nullptr, dy, dstate_out}, dweight, dbias);
  const int64_t all = B * steps, across = ceil_div(D, 128);
  const int64_t rows = ceil_div(all > 0 ? all : 1, 512 / across + 1), parts = ceil_div(all, rows);
  const int64_t sums = round_up(all * D, 4);
  auto *dsum = static_cast<float *>(scratch(4 * (sums + parts * (K + 1) * D)));
  if (!dsum) return XL_OUT_OF_MEMORY;
  float *partials = dsum + sums;
  const dim3 per_sequence{unsigned(B), unsigned(across)};
  if (steps > 0) {
    dsum_kernel<T><<<grid_of(B, steps, D, 1), 128, 0, stream()>>>(dsum, dy, conv);
    dx_kernel<T><<<grid_of(B, steps, D, 1), 128, 0, stream()>>>(dx, dsum, dstate_out, conv);
  }
  if (dstate_in && K > 1) dstate_kernel<T><<<per_sequence, 128, 0, stream()>>>(dstate_in, dsum, dstate_out, conv);
  if (steps > 0) {
    const dim3 grid{unsigned(across), unsigned(parts), unsigned(K + (dbias ? 1 : 0))};
    dweight_kernel<T><<<grid, 128, 0, stream()>>>(partials, dsum, conv, rows);
    if (int status = add_partials(name, dweight, partials, parts, K * D)) return status;
    if (dbias)
      if (int status = add_partials(name, dbias, partials + parts * K * D, parts, D)) return status;
  }
  return launched(name);
}

}  // namespace

extern "C" {

int xl_conv1d_backward(float *dx, float *dweight, float *dbias, float *dstate_in, const float *dy,
                       const float *dstate_out, const float *x, const float *weight, const float *bias,
                       const float *state_in, const uint8_t *reset, int64_t B, int64_t T, int64_t D, int64_t K,
                       int32_t activation) {
  return backward<float>("conv1d_backward", dx, dweight, dbias, dstate_in, dy, dstate_out,
                         {x, weight, bias, state_in, reset, B, T, D, K, activation});
}
XL_API int xl_conv1d_backward_bf16(bf16 *dx, float *dweight, float *dbias, float *dstate_in, const bf16 *dy,
                                   const float *dstate_out, const bf16 *x, const float *weight, const float *bias,
                                   const float *state_in, const uint8_t *reset, int64_t B, int64_t T, int64_t D,
                                   int64_t K, int32_t activation) {
  return backward<bf16>("conv1d_backward_bf16", dx, dweight, dbias, dstate_in, dy, dstate_out,
                        {x, weight, bias, state_in, reset, B, T, D, K, activation});
}

}  // extern "C"
