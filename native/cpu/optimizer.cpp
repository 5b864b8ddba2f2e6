// One AdamW step (Loshchilov & Hutter, arXiv 1711.05101): one pass over parameter, moments and gradient.
#include "lanes.h"

using namespace XL_NS;

extern "C" int XL_KERNEL(xl_adamw)(float *parameter, float *m, float *v, const float *gradient, int64_t N,
                                   float grad_scale, float lr, float beta1, float beta2, float eps, float weight_decay,
                                   float correction1, float correction2) {
  const float rest1 = 1.0f - beta1, rest2 = 1.0f - beta2;
  const float rate = lr / correction1, inverse2 = 1.0f / correction2, decay = lr * weight_decay;
  parallel_lanes(N, memory_grain, [=](int64_t n, auto lanes) {
    const vf g = grad_scale * lanes.load(gradient + n), p = lanes.load(parameter + n);
    const vf first = beta1 * lanes.load(m + n) + rest1 * g;
    const vf second = beta2 * lanes.load(v + n) + rest2 * (g * g);
    lanes.store(m + n, first);
    lanes.store(v + n, second);
    const vf update = rate * first / (vsqrt(second * inverse2) + eps);
    lanes.store(parameter + n, p - (update + decay * p));
  });
  return XL_OK;
}
