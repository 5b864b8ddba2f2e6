// RMS norm (Zhang & Sennrich, arXiv 1910.07467) over the last axis of [N,G,D]; bytes as for the layer norm.
#include "deferred.h"
#include "norms.cuh"

using namespace xl;

int xl::rmsnorm_now(const RmsNorm &c) {
  return norm_forward<float, false>("rmsnorm_forward",
                                    {c.y, nullptr, c.rstd, c.x, c.weight, nullptr, c.N * c.G, c.G, c.D, c.eps, c.offset});
}

extern "C" {

int xl_rmsnorm_forward(float *y, float *rstd, const float *x, const float *weight, int64_t N, int64_t G, int64_t D,
                       float eps, float weight_offset) {
  const RmsNorm call{y, rstd, x, weight, N, G, D, eps, weight_offset};
  return defer(call) ? XL_OK : rmsnorm_now(call);
}
XL_API int xl_rmsnorm_forward_bf16(bf16 *y, float *rstd, const bf16 *x, const float *weight, int64_t N, int64_t G,
                                   int64_t D, float eps, float weight_offset) {
  return norm_forward<bf16, false>("rmsnorm_forward_bf16",
                                   {y, nullptr, rstd, x, weight, nullptr, N * G, G, D, eps, weight_offset});
}

int xl_rmsnorm_backward(float *dx, float *dweight, const float *dy, const float *x, const float *weight,
                        const float *rstd, int64_t N, int64_t G, int64_t D, float weight_offset) {
  return norm_backward<float, false>("rmsnorm_backward",
                                     {dx, dweight, nullptr, dy, x, weight, nullptr, rstd, N, G, D, weight_offset});
}
XL_API int xl_rmsnorm_backward_bf16(bf16 *dx, float *dweight, const bf16 *dy, const bf16 *x, const float *weight,
                                    const float *rstd, int64_t N, int64_t G, int64_t D, float weight_offset) {
  return norm_backward<bf16, false>("rmsnorm_backward_bf16",
                                    {dx, dweight, nullptr, dy, x, weight, nullptr, rstd, N, G, D, weight_offset});
}

}  // extern "C"
