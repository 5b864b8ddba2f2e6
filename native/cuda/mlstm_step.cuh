// The arithmetic of one mLSTM step that does not depend on how it is spread over threads.
#ifndef XL_CUDA_MLSTM_STEP_CUH
#define XL_CUDA_MLSTM_STEP_CUH
#include <math.h>

#include "mlstm.cuh"
#include "mlstm_scan.cuh"

namespace xl {
namespace mlstm {

struct StepOptions {
  float eps;
  bool exponential, normalize;
};

// What the gates come to: C = f C + i k v^T, with m rounded to a float first, so that e^m C is carried on without the
// rounding error of m.
struct StepGates {
  float f, i;
  double m;
  float m_float;
};

__device__ inline StepGates step_gates(const StepOptions &s, float i, float f, float m_in) {
  if (!s.exponential) return {sigmoid(f), sigmoid(i), 0, 0};
  const double forget = double(log_sigmoid(f)) + double(m_in), m = forget > i ? forget : double(i);
  const double rounded = double(float(m));
  return {expf(float(forget - rounded)), expf(float(i - rounded)), m, float(m)};
}

// What q . C is divided by, from the scaled q . n.
__device__ inline float step_denominator(const StepOptions &s, const StepGates &gates, float dot) {
  const float a = fabsf(dot), floor = expf(-gates.m_float);
  return s.normalize ? (a > floor || isnan(a) ? a : floor) + s.eps : float(exp(gates.m - double(gates.m_float)));
}

}  // namespace mlstm
}  // namespace xl
#endif
