// One AdamW step (Loshchilov & Hutter, arXiv 1711.05101): 28 bytes per parameter (four read, three written), each once;
// two more with a copy as bfloat16.
#include "lanes.cuh"
#include "xl_cuda.h"

using namespace xl;

namespace {

// Numbers that change from step to step.
struct Rates {
  float scale, rate, inverse2, decay;
};

struct Adamw {
  float *parameter, *m, *v;
  bf16 *copy;  // or null
  const float *gradient;
  float decay1, rest1, decay2, rest2, small;
  Rates given;
  const float *scale, *rates;  // null where `given` counts

  template <int V>
  __device__ void at(int64_t n) const {
    const Rates now = rates ? Rates{*scale, rates[0], rates[1], rates[2]} : given;
    if (isnan(now.scale)) return;
    const Lanes<V> g = now.scale * load<V>(gradient + n), p = load<V>(parameter + n);
    const Lanes<V> first = decay1 * load<V>(m + n) + rest1 * g;
    const Lanes<V> second = decay2 * load<V>(v + n) + rest2 * (g * g);
    store(m + n, first);
    store(v + n, second);
    Lanes<V> next;
#pragma unroll
    for (int l = 0; l < V; l++)
      next[l] = p[l] - (now.rate * first[l] / (sqrtf(second[l] * now.inverse2) + small) + now.decay * p[l]);
    store(parameter + n, next);
    if (copy) store(copy + n, next);
  }
};

// In double, as a host does it.
__global__ void clip_scale_kernel(float *scale, const float *found, double clip) {
  const double norm = sqrt(double(found[1]));
  const bool is_finite = isfinite(found[0]) && isfinite(norm);
  *scale = is_finite ? (norm > clip ? float(clip / norm) : 1.0f) : NAN;
}

}  // namespace

extern "C" {

int xl_adamw(float *parameter, float *m, float *v, const float *gradient, int64_t N, double grad_scale, double lr,
             double beta1, double beta2, double eps, double weight_decay, double correction1, double correction2) {
  // Differences and quotients in double: 1 - 0.999f is off by 1e-5.
  const Rates rates{float(grad_scale), float(lr / correction1), float(1 / correction2), float(lr * weight_decay)};
  const Adamw step{parameter,        m,          v,     nullptr, gradient, float(beta1), float(1 - beta1), float(beta2),
                   float(1 - beta2), float(eps), rates, nullptr, nullptr};
  return each<4>("adamw", step, N, is_aligned(parameter, m, v, gradient));
}

int xl_adamw_recorded(float *parameter, uint8_t *copy, float *m, float *v, const float *gradient, const float *scale,
                      const float *rates, int64_t N, double beta1, double beta2, double eps) {
  auto *const bits = reinterpret_cast<bf16 *>(copy);
  const Adamw step{parameter,        m,          v,  bits,  gradient, float(beta1), float(1 - beta1), float(beta2),
                   float(1 - beta2), float(eps), {}, scale, rates};
  return each<4>("adamw_recorded", step, N, is_aligned(parameter, copy, m, v, gradient));
}

int xl_clip_scale(float *scale, const float *found, double clip) {
  clip_scale_kernel<<<1, 1, 0, stream()>>>(scale, found, clip);
  return launched("clip_scale");
}

}  // extern "C"
