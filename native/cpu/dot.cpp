// Matrix products with few rows or few columns (decoding, gates): each element is a sum along the vectors, so that both
// operands are read in place, once. Speed is that of memory.
#include "lanes.h"
#include "matmul.h"
#include "reduce.h"
#include "streams.h"
#include "transpose.h"

namespace XL_NS {
namespace {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int TILE_M = 4;
#else
constexpr int TILE_M = 2;
#endif
constexpr int TILE_N = 4;
// One row of a with eight columns of c asks for what comes (measured with vectors of 16): twice, of streams (streams.h),
// where b comes from memory, once where it may lie in a cache: the second request would take a fifth more time there.
constexpr int ROW_N = 8;
constexpr int64_t NEAR_FLOATS = 128;
constexpr int64_t CACHED_FLOATS = 1 << 20;  // of b
constexpr int64_t TASK_FLOATS = 1 << 15;  // of the large operand

// out[i * TN + j] = sum over k of a[i * lda + k] * b[j * ldb + k]. From memory: of b, what is `left` of its streams.
template <int TM, int TN, bool FROM_MEMORY = false>
void dot_tile(const float *a, int64_t lda, const float *b, int64_t ldb, int64_t K, float *out, int64_t left) {
  vf sum[TM * TN];
#pragma GCC unroll 16
  for (int i = 0; i < TM * TN; i++) sum[i] = vf{};
  const auto step = [&](int64_t k, auto lanes) {
    if constexpr (FROM_MEMORY) {
      prefetch_streams<TN>(b, k, left, ldb);
    } else if (TM == 1 && TN == ROW_N && W == 16) {
#pragma GCC unroll 8
      for (int j = 0; j < TN; j++) __builtin_prefetch(b + j * ldb + k + NEAR_FLOATS, 0, 3);
    }
    vf right[TN];
#pragma GCC unroll 8
    for (int j = 0; j < TN; j++) right[j] = lanes.load(b + j * ldb + k);
#pragma GCC unroll 4
    for (int i = 0; i < TM; i++) {
      const vf left = lanes.load(a + i * lda + k);
#pragma GCC unroll 8
      for (int j = 0; j < TN; j++) sum[i * TN + j] = left * right[j] + sum[i * TN + j];
    }
  };
  for_lanes(0, K, step);
#pragma GCC unroll 16
  for (int first = 0; first < TM * TN; first += W) {
    vf x[W];
#pragma GCC unroll 16
    for (int i = 0; i < W; i++) x[i] = first + i < TM * TN ? sum[first + i < TM * TN ? first + i : 0] : vf{};
    const vf y = sums_of_lanes(x);
    if (TM * TN - first >= W) {
      store(out + first, y);
    } else {
      store_part(out + first, y, TM * TN - first);
    }
  }
}

using Run = void (*)(const float *, int64_t, const float *, int64_t, int64_t, float *, int64_t);

Run tile_of(int64_t rows, int64_t columns) {
  static const Run runs[4][4] = {
    {dot_tile<1, 1>, dot_tile<1, 2>, dot_tile<1, 3>, dot_tile<1, 4>},
    {dot_tile<2, 1>, dot_tile<2, 2>, dot_tile<2, 3>, dot_tile<2, 4>},
#if defined(__AVX512F__) || defined(__aarch64__)
    {dot_tile<3, 1>, dot_tile<3, 2>, dot_tile<3, 3>, dot_tile<3, 4>},
    {dot_tile<4, 1>, dot_tile<4, 2>, dot_tile<4, 3>, dot_tile<4, 4>},
#endif
  };
  if (columns == ROW_N) return dot_tile<1, ROW_N>;
  return runs[rows - 1][columns - 1];
}

void put(const Matmul &p, int64_t m, int64_t n, float sum) {
  float *c = p.c + m * p.ldc + n;
  const float y = sum + (p.bias ? p.bias[n] : 0.0f);
  *c = p.accumulate ? *c + y : y;
}

// A block of C, with a[m * lda + k] and b[n * ldb + k].
void dot_block(const Matmul &p, int64_t m0, int64_t rows, int64_t n0, int64_t columns) {
  for (int64_t n = n0; n < n0 + columns;) {
    const int64_t left = n0 + columns - n;
    const int64_t width = p.M == 1 && left >= ROW_N ? ROW_N : min_of(TILE_N, left);
    for (int64_t m = m0; m < m0 + rows; m += TILE_M) {
      const int64_t height = min_of(TILE_M, m0 + rows - m);
      float out[TILE_M * TILE_N > ROW_N ? TILE_M * TILE_N : ROW_N];
      tile_of(height, width)(p.a + m * p.lda, p.lda, p.b + n * p.ldb, p.ldb, p.K, out, 0);
      for (int64_t i = 0; i < height; i++)
        for (int64_t j = 0; j < width; j++) put(p, m + i, n + j, out[i * width + j]);
    }
    n += width;
  }
  apply_activation(p, m0, rows, n0, columns);
}

// Rows of b from one of a tile to the next, where its rows are read as streams; 0: they are not.
int64_t rows_apart(const Matmul &p) {
  if (W < 16 || p.M > 1 || p.N * p.K <= CACHED_FLOATS) return 0;
  return stream_rows(p.ldb * int64_t(sizeof(float)));
}

// Columns of a single row of C.
void dot_streams(const Matmul &p, int64_t begin, int64_t end, int64_t apart) {
  const int64_t last = for_streams(begin, end, ROW_N, apart, [&](int64_t n, int64_t between, int64_t left) {
    float out[ROW_N];
    dot_tile<1, ROW_N, true>(p.a, p.lda, p.b + n * p.ldb, between * p.ldb, p.K, out, left * p.ldb);
    for (int64_t j = 0; j < ROW_N; j++) put(p, 0, n + j * between, out[j]);
  });
  apply_activation(p, 0, 1, begin, last - begin);
  dot_block(p, 0, 1, last, end - last);
}

// to[c][r] = from[r][c].
void copy_transposed(float *to, const float *from, int64_t from_row, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < columns; c++) to[c * rows + r] = from[r * from_row + c];
}

}  // namespace

int matmul_dot(const Matmul &problem) {
  Matmul p = problem;
  if (p.trans_a || !p.trans_b) {
    const int64_t floats = (p.trans_a ? p.M : p.N) * p.K;
    float *copy = xl::shared_scratch(floats);
    if (!copy) return out_of_scratch("matmul", floats);
    if (p.trans_a) {
      copy_transposed(copy, p.a, p.lda, p.K, p.M);
      p.a = copy;
      p.lda = p.K;
    } else {
      copy_transposed(copy, p.b, p.ldb, p.K, p.N);
      p.b = copy;
      p.ldb = p.K;
    }
  }
  const bool tall = p.M > p.N;
  const int64_t apart = rows_apart(p), block = ROW_N * max_of(apart, 1);
  const int64_t grain = max_of(TASK_FLOATS / p.K / block, 1) * block;
  const auto take = [&](int64_t begin, int64_t end, int) {
    if (tall) {
      // Few rows at a time, for all columns while they are in L1.
      for (int64_t m = begin; m < end; m += TILE_M) dot_block(p, m, min_of(TILE_M, end - m), 0, p.N);
    } else if (apart > 0) {
      dot_streams(p, begin, end, apart);
    } else {
      dot_block(p, 0, p.M, begin, end - begin);
    }
  };
  parallel_stream(tall ? p.M : p.N, grain, take, [&](int64_t begin) {
    const int64_t floats = tall ? (p.M - begin) * p.lda : (p.N - begin) * p.ldb;
    return xl::Stretch{tall ? p.a + begin * p.lda : p.b + begin * p.ldb, floats * int64_t(sizeof(float))};
  });
  return XL_OK;
}

}  // namespace XL_NS
