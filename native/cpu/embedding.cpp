// Rows of a table by token number, and the gradient of the table.
#include "lanes.h"
#include "tokens.h"

using namespace XL_NS;

extern "C" int XL_KERNEL(xl_embedding_forward)(float *y, const int32_t *tokens, const float *table, int64_t N,
                                               int64_t D, int64_t V) {
  if (int status = check_tokens("embedding_forward", tokens, N, V)) return status;
  parallel_range(N, memory_grain / max_of(D, 1), [=](int64_t begin, int64_t end, int) {
    for (int64_t n = begin; n < end; n++) {
      const float *row = table + tokens[n] * D;
      for_lanes(0, D, [=](int64_t d, auto lanes) { lanes.store(y + n * D + d, lanes.load(row + d)); });
    }
  });
  return XL_OK;
}

// y[n] = table[tokens[n]]. Tokens repeat, so threads take columns of the table: each element gets its sum in the order
// of n, whatever the number of threads.
extern "C" int XL_KERNEL(xl_embedding_backward)(float *dtable, const float *dy, const int32_t *tokens, int64_t N,
                                                int64_t D, int64_t V) {
  if (int status = check_tokens("embedding_backward", tokens, N, V)) return status;
  const int64_t columns = D >= 512 ? 64 : 32;
  parallel_range(D, columns, [=](int64_t begin, int64_t end, int) {
    for (int64_t n = 0; n < N; n++) {
      float *row = dtable + tokens[n] * D;
      for_lanes(begin, end,
                [=](int64_t d, auto lanes) { lanes.store(row + d, lanes.load(row + d) + lanes.load(dy + n * D + d)); });
    }
  });
  return XL_OK;
}
