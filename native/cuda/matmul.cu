// Matrix products through cuBLASLt: 2 M N K operations. float32 is computed in float32 (no TF32), bfloat16 on the tensor
// cores with float32 sums; what bias and activation do follows in a kernel of its own (2 passes over c).
//
// Row-major c = op(a) op(b) is column-major c^T = op(b)^T op(a)^T, so a and b change places. What was chosen for a shape
// is kept: the same shape always takes the same algorithm. The few shapes that cuBLASLt refuses (K = 0, odd addresses of
// bfloat16) go to a plain kernel.
#include <string.h>

#include <string>
#include <unordered_map>

#include "activation.cuh"
#include "cublaslt.h"
#include "deferred.h"
#include "device.h"
#include "product.h"
#include "xl_cuda.h"

namespace xl {
namespace {

constexpr size_t WORKSPACE = 32 << 20;

// What cuBLASLt itself may use, apart from the workspace of the kernel that calls it.
void *workspace() {
  static void *address = nullptr;
  if (!address) address = pool_alloc("matmul", WORKSPACE);
  return address;
}

template <class T>
constexpr cudaDataType_t type_of = sizeof(T) == 4 ? CUDA_R_32F : CUDA_R_16BF;

struct Plan {
  void *desc, *a, *b, *c;
  LtAlgorithm algorithm;
  bool is_possible;
};

// What a plan depends on.
struct Key {
  int64_t numbers[17];
  std::string text() const { return {reinterpret_cast<const char *>(numbers), sizeof numbers}; }
};

uint32_t alignment_of(const void *address) {
  const auto bits = reinterpret_cast<uintptr_t>(address);
  return bits % 256 == 0 ? 256 : uint32_t(bits & -bits);
}

// A column-major layout of what is stored as `rows` rows of `columns` elements, `ld` apart.
bool make_layout(const CublasLt &lt, void **layout, cudaDataType_t type, int64_t rows, int64_t columns, int64_t ld,
                 int64_t batch, int64_t stride) {
  if (lt.layout_create(layout, type, uint64_t(columns), uint64_t(rows), ld)) return false;
  const int32_t count = int32_t(batch);
  return batch == 1 || (lt.layout_set(*layout, LAYOUT_BATCH_COUNT, &count, sizeof count) == 0 &&
                        lt.layout_set(*layout, LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride) == 0);
}

Plan make_plan(const CublasLt &lt, const Product &p, cudaDataType_t type, cudaDataType_t c_type,
               const uint32_t *alignment) {
  Plan plan{};
  const int32_t transposed[] = {p.trans_b ? 1 : 0, p.trans_a ? 1 : 0};
  void *preference = nullptr;
  bool ok = lt.desc_create(&plan.desc, COMPUTE_32F, CUDA_R_32F) == 0 &&
            lt.desc_set(plan.desc, DESC_TRANSA, &transposed[0], 4) == 0 &&
            lt.desc_set(plan.desc, DESC_TRANSB, &transposed[1], 4) == 0 &&
            make_layout(lt, &plan.b, type, p.trans_b ? p.N : p.K, p.trans_b ? p.K : p.N, p.ldb, p.batch, p.stride_b) &&
            make_layout(lt, &plan.a, type, p.trans_a ? p.K : p.M, p.trans_a ? p.M : p.K, p.lda, p.batch, p.stride_a) &&
            make_layout(lt, &plan.c, c_type, p.M, p.N, p.ldc, p.batch, p.stride_c) &&
            lt.preference_create(&preference) == 0 &&
            lt.preference_set(preference, PREF_MAX_WORKSPACE_BYTES, &WORKSPACE, sizeof WORKSPACE) == 0;
  for (int i = 0; ok && i < 4; i++) ok = lt.preference_set(preference, PREF_MIN_ALIGNMENT_A + i, &alignment[i], 4) == 0;
  LtHeuristicResult result{};
  int found = 0;
  ok = ok && lt.heuristic(lt.handle, plan.desc, plan.b, plan.a, plan.c, plan.c, preference, 1, &result, &found) == 0;
  if (preference) lt.preference_destroy(preference);
  plan.is_possible = ok && found > 0 && result.state == 0;
  plan.algorithm = result.algorithm;
  return plan;
}

constexpr int TILE = 16;

template <class TC, class T>
__global__ void __launch_bounds__(TILE *TILE) plain_kernel(TC *c, const T *a, const T *b, const Product p) {
  const int64_t z = blockIdx.z, m = int64_t(blockIdx.x) * TILE + threadIdx.y, n = int64_t(blockIdx.y) * TILE + threadIdx.x;
  if (m >= p.M || n >= p.N) return;
  a += z * p.stride_a;
  b += z * p.stride_b;
  float sum = 0;
  for (int64_t k = 0; k < p.K; k++)
    sum += load(a + (p.trans_a ? k * p.lda + m : m * p.lda + k)) * load(b + (p.trans_b ? n * p.ldb + k : k * p.ldb + n));
  TC *to = c + z * p.stride_c + m * p.ldc + n;
  store(to, p.accumulate ? load(to) + sum : sum);
}

template <class TC, int V>
__global__ void __launch_bounds__(256)
    epilogue_kernel(TC *c, const float *bias, int64_t M, int64_t N, int64_t ldc, int activation) {
  const int64_t vectors = N / V, index = int64_t(blockIdx.x) * 256 + threadIdx.x;
  if (index >= M * vectors) return;
  const int64_t n = index % vectors * V;
  TC *to = c + index / vectors * ldc + n;
  const Lanes<V> sum = load<V>(to);
  store(to, activate(bias ? sum + load<V>(bias + n) : sum, activation));
}

}  // namespace

template <class TC, class T>
int product(const char *name, TC *c, const T *a, const T *b, const Product &p) {
  if (p.M <= 0 || p.N <= 0 || p.batch <= 0) return XL_OK;
  const CublasLt *lt = cublaslt();
  if (!lt) return XL_INTERNAL;
  // In the order of cuBLASLt, where a and b have changed places.
  const uint32_t alignment[] = {alignment_of(b), alignment_of(a), alignment_of(c), alignment_of(c)};
  const Key key{{p.M, p.N, p.K, p.trans_a, p.trans_b, p.lda, p.ldb, p.ldc, p.accumulate, p.batch, p.stride_a,
                 p.stride_b, p.stride_c, sizeof(T), sizeof(TC), alignment[0] * 1024 + alignment[1], alignment[2]}};
  static std::unordered_map<std::string, Plan> plans;
  auto found = plans.find(key.text());
  if (found == plans.end()) {
    Plan plan{};
    if (p.K > 0) plan = make_plan(*lt, p, type_of<T>, type_of<TC>, alignment);
    found = plans.emplace(key.text(), plan).first;
  }
  const Plan &plan = found->second;
  if (!plan.is_possible) {
    const dim3 grid{unsigned(ceil_div(p.M, TILE)), unsigned(ceil_div(p.N, TILE)), unsigned(p.batch)};
    plain_kernel<<<grid, dim3(TILE, TILE), 0, stream()>>>(c, a, b, p);
    return launched(name);
  }
  void *room = workspace();
  if (!room) return XL_OUT_OF_MEMORY;
  const float one = 1, zero = 0;
  const int status =
      lt->matmul(lt->handle, plan.desc, &one, b, plan.b, a, plan.a, p.accumulate ? &one : &zero, c, plan.c, c, plan.c,
                 &plan.algorithm, room, WORKSPACE, stream());
  if (status != 0)
    return fail(XL_INTERNAL, "%s: cublasLtMatmul failed with status %d for M=%lld N=%lld K=%lld", name, status,
                (long long)p.M, (long long)p.N, (long long)p.K);
  return XL_OK;
}

template int product(const char *, float *, const float *, const float *, const Product &);
template int product(const char *, bf16 *, const bf16 *, const bf16 *, const Product &);
template int product(const char *, float *, const bf16 *, const bf16 *, const Product &);

template <class TC>
int epilogue(const char *name, TC *c, const float *bias, int64_t M, int64_t N, int64_t ldc, int activation) {
  if ((!bias && activation == XL_ACT_NONE) || M <= 0 || N <= 0) return XL_OK;
  constexpr int V = lanes_of<TC>;
  if (is_aligned(c, bias) && N % V == 0 && ldc % V == 0)
    epilogue_kernel<TC, V><<<unsigned(ceil_div(M * N / V, 256)), 256, 0, stream()>>>(c, bias, M, N, ldc, activation);
  else
    epilogue_kernel<TC, 1><<<unsigned(ceil_div(M * N, 256)), 256, 0, stream()>>>(c, bias, M, N, ldc, activation);
  return launched(name);
}

template int epilogue(const char *, float *, const float *, int64_t, int64_t, int64_t, int);
template int epilogue(const char *, bf16 *, const float *, int64_t, int64_t, int64_t, int);

namespace {

template <class TC, class T>
int matmul(const char *name, TC *c, const T *a, const T *b, const float *bias, const Product &p, int activation) {
  if (int status = check_activation(name, activation)) return status;
  if (p.accumulate && activation != XL_ACT_NONE)
    return fail(XL_INVALID, "%s: accumulate allows no activation; apply it in a call of its own", name);
  if (int status = product(name, c, a, b, p)) return status;
  return epilogue(name, c, bias, p.M, p.N, p.ldc, activation);
}

}  // namespace
}  // namespace xl

using namespace xl;

extern "C" {

int xl_matmul(float *c, const float *a, const float *b, const float *bias, int64_t M, int64_t N, int64_t K,
              int32_t trans_a, int32_t trans_b, int64_t lda, int64_t ldb, int64_t ldc, int32_t accumulate,
              int32_t activation) {
  const bool is_plain = !trans_a && trans_b && lda == K && ldb == K && ldc == N && !accumulate && activation == XL_ACT_NONE;
  if (is_plain && defer(FewRowsProduct{c, a, b, true, bias, M, N, K})) return XL_OK;
  return matmul("matmul", c, a, b, bias, {M, N, K, trans_a != 0, trans_b != 0, lda, ldb, ldc, accumulate != 0},
                activation);
}
XL_API int xl_matmul_bf16(bf16 *c, const bf16 *a, const bf16 *b, const float *bias, int64_t M, int64_t N, int64_t K,
                          int32_t trans_a, int32_t trans_b, int64_t lda, int64_t ldb, int64_t ldc, int32_t accumulate,
                          int32_t activation) {
  return matmul("matmul_bf16", c, a, b, bias, {M, N, K, trans_a != 0, trans_b != 0, lda, ldb, ldc, accumulate != 0},
                activation);
}
// c is float32: gradients of weights, and logits.
XL_API int xl_matmul_bf16_float(float *c, const bf16 *a, const bf16 *b, const float *bias, int64_t M, int64_t N,
                                int64_t K, int32_t trans_a, int32_t trans_b, int64_t lda, int64_t ldb, int64_t ldc,
                                int32_t accumulate, int32_t activation) {
  return matmul("matmul_bf16_float", c, a, b, bias,
                {M, N, K, trans_a != 0, trans_b != 0, lda, ldb, ldc, accumulate != 0}, activation);
}

}  // extern "C"
