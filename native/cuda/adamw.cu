// One AdamW step (Loshchilov & Hutter, arXiv 1711.05101): 28 bytes per parameter (four read, three written), each once.
#include "lanes.cuh"

using namespace xl;

namespace {

struct Adamw {
  float *parameter, *m, *v;
  const float *gradient;
  float scale, decay1, rest1, decay2, rest2, rate, inverse2, decay, small;

  template <int V>
  __device__ void at(int64_t n) const {
    const Lanes<V> g = scale * load<V>(gradient + n), p = load<V>(parameter + n);
    const Lanes<V> first = decay1 * load<V>(m + n) + rest1 * g;
    const Lanes<V> second = decay2 * load<V>(v + n) + rest2 * (g * g);
    store(m + n, first);
    store(v + n, second);
    Lanes<V> next;
#pragma unroll
    for (int l = 0; l < V; l++)
      next[l] = p[l] - (rate * first[l] / (sqrtf(second[l] * inverse2) + small) + decay * p[l]);
    store(parameter + n, next);
  }
};

}  // namespace

extern "C" int xl_adamw(float *parameter, float *m, float *v, const float *gradient, int64_t N, double grad_scale,
                        double lr, double beta1, double beta2, double eps, double weight_decay, double correction1,
                        double correction2) {
  // Differences and quotients in double: 1 - 0.999f is off by 1e-5.
  const Adamw step{parameter,          m,
                   v,                  gradient,
                   float(grad_scale),  float(beta1),
                   float(1 - beta1),   float(beta2),
                   float(1 - beta2),   float(lr / correction1),
                   float(1 / correction2), float(lr * weight_decay),
                   float(eps)};
  return each<4>("adamw", step, N, is_aligned(parameter, m, v, gradient));
}
