// Layer norm (Ba et al., arXiv 1607.06450) over the last axis of [N,G,D]. Bound by memory: a row is read once and stays in
// registers. Bytes per element in float32, half in bfloat16: forward 8, backward 16 (dy, x, and dx read and written);
// the weights' partial sums add 8 G D bytes per block of at most 1024 G.
#include "norms.cuh"

using namespace xl;

extern "C" {

int xl_layernorm_forward(float *y, float *mean, float *rstd, const float *x, const float *weight, const float *bias,
                         int64_t N, int64_t G, int64_t D, float eps, float weight_offset) {
  return norm_forward<float, true>("layernorm_forward",
                                   {y, mean, rstd, x, weight, bias, N * G, G, D, eps, weight_offset});
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
