// Layer norm (Ba et al., arXiv 1607.06450) over the last axis of [N,G,D]. Bound by memory: a row is read once and stays in
// registers. Bytes per element in float32, half in bfloat16: forward 8, backward 16 (dy, x, and dx read and written);
// the weights' partial sums add 8 G D bytes per block of at most 1024 G.
#include "deferred.h"
#include "norms.cuh"

using namespace xl;

int xl::layernorm_gated_now(const LayerNorm &c, float *y2, const float *gate, int activation) {
  return norm_forward<float, true>("layernorm_forward", {c.y, c.mean, c.rstd, c.x, c.weight, c.bias, c.N * c.G, c.G, c.D,
                                                         c.eps, c.offset, y2, gate, activation});
}
int xl::layernorm_now(const LayerNorm &c) { return layernorm_gated_now(c, nullptr, nullptr, XL_ACT_NONE); }

extern "C" {

int xl_layernorm_forward(float *y, float *mean, float *rstd, const float *x, const float *weight, const float *bias,
                         int64_t N, int64_t G, int64_t D, float eps, float weight_offset) {
  const LayerNorm call{y, mean, rstd, x, weight, bias, N, G, D, eps, weight_offset};
  return defer(call) ? XL_OK : layernorm_now(call);
}
XL_API int xl_layernorm_forward_bf16(bf16 *y, float *mean, float *rstd, const bf16 *x, const float *weight,
                                     const float *bias, int64_t N, int64_t G, int64_t D, float eps,
                                     float weight_offset) {
  return norm_forward<bf16, true>("layernorm_forward_bf16",
                                  {y, mean, rstd, x, weight, bias, N * G, G, D, eps, weight_offset});
}

int xl_layernorm_backward(float *dx, float *dweight, float *dbias, const float *dy, const float *x,
                          const float *weight, const float *mean, const float *rstd, int64_t N, int64_t G, int64_t D,
                          float weight_offset) {
  return norm_backward<float, true>("layernorm_backward",
                                    {dx, dweight, dbias, dy, x, weight, mean, rstd, N, G, D, weight_offset});
}
XL_API int xl_layernorm_backward_bf16(bf16 *dx, float *dweight, float *dbias, const bf16 *dy, const bf16 *x,
                                      const float *weight, const float *mean, const float *rstd, int64_t N, int64_t G,
                                      int64_t D, float weight_offset) {
  return norm_backward<bf16, true>("layernorm_backward_bf16",
                                   {dx, dweight, dbias, dy, x, weight, mean, rstd, N, G, D, weight_offset});
}

}  // extern "C"
