// Calls that are not launched at once but kept until it is known what follows: deferred.cpp.
#ifndef XL_CUDA_DEFERRED_H
#define XL_CUDA_DEFERRED_H
#include "kernel.cuh"

namespace xl {

struct RmsNorm {
  float *y, *rstd;
  const float *x, *weight;
  int64_t N, G, D;
  float eps, offset;
};

struct LayerNorm {
  float *y, *mean, *rstd;
  const float *x, *weight, *bias;
  int64_t N, G, D;
  float eps, offset;
};

// y [N,O] = x [N,I] weight^T + bias, with weights of bfloat16 or float32.
struct FewRowsProduct {
  float *y;
  const float *x;
  const void *weight;
  bool is_float;
  const float *bias;
  int64_t N, O, I;
};

struct MlstmStep {
  float *h, *Cout, *nout, *mout;
  const float *q, *k, *v, *i, *f, *Cin, *nin, *min;
  int64_t B, NH, DK, DV;
  float eps;
  int input_gate;
  bool normalize;
};

// Each takes the call over and returns true, or returns false: then the caller launches it.
bool defer(const RmsNorm &call);
bool defer(const LayerNorm &call);
bool defer(const FewRowsProduct &call);
bool defer(const MlstmStep &call);
bool defer_soft_cap(float *y, const float *x, int64_t N, float cap);
bool defer_add(float *y, const float *a, const float *b, int64_t N);
bool defer_gated_activation(float *y, const float *gate, const float *up, int64_t N, int activation);

// Zeros of `bytes` at y, for memory that is added to next: they are written when anything else is enqueued, but for a
// kernel that claims them and stores its results instead of adding them.
void defer_zeros(void *y, int64_t bytes);
// Whether y [bytes] is such memory. The caller must then write all of it; it asks before it asks for the stream.
bool claim_zeros(const void *y, int64_t bytes);

// Launches what was deferred. `stream` does so, thus everything that is enqueued comes after it.
void launch_deferred();
// The status of a deferred launch that failed and was not told yet, else XL_OK; its sentence is the last error.
int deferred_failure();

// The launches of single calls.
int rmsnorm_now(const RmsNorm &call);
int layernorm_now(const LayerNorm &call);
// With y2 [N,G,D] = activation(gate) * y behind it.
int layernorm_gated_now(const LayerNorm &call, float *y2, const float *gate, int activation);
int mlstm_step_now(const MlstmStep &call);
// Likewise a step, the norm of its h and the gate; for steps for which `can_fuse_step`.
bool can_fuse_step(const MlstmStep &call);
int mlstm_step_norm_now(const MlstmStep &step, const LayerNorm &norm, float *y2, const float *gate, int activation);

}  // namespace xl
#endif
