// One AdamW step (Loshchilov & Hutter, arXiv 1711.05101): one pass over parameter, moments and gradient.
#include "lanes.h"

using namespace XL_NS;

extern "C" int XL_KERNEL(xl_adamw)(float *parameter, float *m, float *v, const float *gradient, int64_t N,
                                   double grad_scale, double lr, double beta1, double beta2, double eps,
                                   double weight_decay, double correction1, double correction2) {
  // Differences and quotients in double: 1 - 0.999f is off by 1e-5.
  const float decay1 = static_cast<float>(beta1), decay2 = static_cast<float>(beta2);
  const float rest1 = static_cast<float>(1 - beta1), rest2 = static_cast<float>(1 - beta2);
  const float rate = static_cast<float>(lr / correction1), inverse2 = static_cast<float>(1 / correction2);
  const float decay = static_cast<float>(lr * weight_decay), small = static_cast<float>(eps);
  const float scale = static_cast<float>(grad_scale);
  parallel_lanes(N, memory_grain, [=](int64_t n, auto lanes) {
    const vf g = scale * lanes.load(gradient + n), p = lanes.load(parameter + n);
    const vf first = decay1 * lanes.load(m + n) + rest1 * g;
    const vf second = decay2 * lanes.load(v + n) + rest2 * (g * g);
    lanes.store(m + n, first);
    lanes.store(v + n, second);
    const vf update = rate * first / (vsqrt(second * inverse2) + small);
    lanes.store(parameter + n, p - (update + decay * p));
  });
  return XL_OK;
}
