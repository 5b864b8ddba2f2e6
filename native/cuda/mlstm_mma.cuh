// Tensor core products of bf16 tiles in shared memory with float32 sums, by mma.sync: sm_80 and up.
//
// Rows of a tile are padded by 16 bytes, so that the eight rows that ldmatrix reads at once lie in different banks. A
// warp takes 32 rows or more of the left operand, since each number of the right one is then used twice per load.
#ifndef XL_CUDA_MLSTM_MMA_CUH
#define XL_CUDA_MLSTM_MMA_CUH
#include "mlstm.cuh"

namespace xl {
namespace mlstm {

constexpr int pad = 8;  // numbers behind each row of a tile
constexpr int mma_threads = 256;

__device__ inline uint32_t shared_address(const void *p) { return uint32_t(__cvta_generic_to_shared(p)); }

// 16 bytes from global to shared memory, or zeros.
__device__ inline void copy_async(uint32_t to, const void *from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid ? 16 : 0));
}
__device__ inline void copy_async(uint32_t to, const void *from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from));
}
__device__ inline void copy_commit() { asm volatile("cp.async.commit_group;"); }
template <int N>
__device__ inline void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N));
}

__device__ inline void load_matrices(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}
__device__ inline void load_matrices_transposed(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}
__device__ inline void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ inline uint32_t pack(float low, float high) {
  const __nv_bfloat162 x = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t *>(&x);
}
__device__ inline float2 unpack(uint32_t x) {
  return __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162 *>(&x));
}

// acc += A B over k in [k_begin, k_end), multiples of 16, for MT * 16 rows from `a` and NT * 8 columns from `b` on.
// A is stored [rows][k], B [k][columns] or [columns][k], lda and ldb numbers from row to row.
template <bool b_by_k, int MT, int NT>
__device__ inline void warp_product(float (&acc)[MT][NT][4], uint32_t a, int lda, uint32_t b, int ldb, int k_begin,
                                    int k_end) {
  const int lane = threadIdx.x % 32;
  a += ((lane % 16) * lda + lane / 16 * 8 + k_begin) * 2;
  b += b_by_k ? ((lane % 16 + k_begin) * ldb + lane / 16 * 8) * 2
              : ((lane / 16 * 8 + lane % 8) * ldb + lane / 8 % 2 * 8 + k_begin) * 2;
  const int b_step = b_by_k ? 16 * ldb * 2 : 32, b_pair = b_by_k ? 32 : 16 * ldb * 2;
#pragma unroll 2
  for (int k = k_begin; k < k_end; k += 16, a += 32, b += b_step) {
    uint32_t x[MT][4];
#pragma unroll
    for (int mt = 0; mt < MT; mt++) load_matrices(x[mt], a + mt * 16 * lda * 2);
#pragma unroll
    for (int pair = 0; pair < NT / 2; pair++) {
      uint32_t y[4];
      if (b_by_k)
        load_matrices_transposed(y, b + pair * b_pair);
      else
        load_matrices(y, b + pair * b_pair);
#pragma unroll
      for (int mt = 0; mt < MT; mt++) {
        multiply(acc[mt][2 * pair], x[mt], y[0], y[1]);
        multiply(acc[mt][2 * pair + 1], x[mt], y[2], y[3]);
      }
    }
  }
}

// Starts the copy of `rows` rows of `columns` numbers (multiples of 8) into a tile; rows from valid_rows and columns
// from valid_columns on become zero.
__device__ inline void copy_tile(uint32_t to, int ld, int rows, int columns, const bf16 *from, int64_t step,
                                 int valid_rows, int valid_columns) {
  for (int r = threadIdx.x / 8; r < rows; r += mma_threads / 8)
    for (int c = threadIdx.x % 8 * 8; c < columns; c += 64) {
      const bool valid = r < valid_rows && c < valid_columns;
      copy_async(to + (r * ld + c) * 2, valid ? from + r * step + c : from, valid);
    }
}

constexpr int panel = 64;  // numbers to a row of a panel (wgmma.cuh)

// As copy_tile, into panels; `rows` is a multiple of 32. A thread copies piece threadIdx.x % 8 of rows threadIdx.x / 8
// + 32 i.
template <int rows>
__device__ inline void copy_panels(uint32_t to, int columns, const bf16 *from, int64_t step, int valid_rows,
                                   int valid_columns) {
  const int piece = threadIdx.x % 8, row = threadIdx.x / 8;
  uint32_t at = to + row * 128 + (piece ^ row % 8) * 16;
  const bf16 *p = from + row * step + piece * 8;
  const bool whole = valid_rows >= rows && valid_columns >= columns && columns % panel == 0;
  for (int c = 0; c < columns; c += panel, p += panel, at += rows * 128) {
    const bf16 *q = p;
    if (whole) {
#pragma unroll
      for (int i = 0; i < rows / 32; i++, q += 32 * step) copy_async(at + i * 4096, q);
    } else if (c + piece * 8 < columns) {
#pragma unroll
      for (int i = 0; i < rows / 32; i++, q += 32 * step) {
        const bool valid = row + 32 * i < valid_rows && c + piece * 8 < valid_columns;
        copy_async(at + i * 4096, valid ? q : from, valid);
      }
    }
  }
}

// Four lanes that share a row hold r[j] = columns 2 lane, 2 lane + 1 of the 8 columns j; afterwards each holds all of
// the columns of one j, its own number. Its own inverse.
__device__ inline void transpose_quad(uint32_t (&r)[4]) {
  const int lane = threadIdx.x % 4;
  const bool odd = lane % 2, upper = lane / 2;
#pragma unroll
  for (int j = 0; j < 4; j += 2) {
    const uint32_t got = __shfl_xor_sync(~0u, odd ? r[j] : r[j + 1], 1);
    (odd ? r[j] : r[j + 1]) = got;
  }
#pragma unroll
  for (int j = 0; j < 2; j++) {
    const uint32_t got = __shfl_xor_sync(~0u, upper ? r[j] : r[j + 2], 2);
    (upper ? r[j] : r[j + 2]) = got;
  }
}

}  // namespace mlstm
}  // namespace xl
#endif
