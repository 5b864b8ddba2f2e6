// The check of token numbers that the embeddings share.
#ifndef XL_CPU_TOKENS_H
#define XL_CPU_TOKENS_H
#include "kernel.h"

namespace XL_NS {
namespace {

inline int check_tokens(const char *kernel, const int32_t *tokens, int64_t N, int64_t V) {
  for (int64_t n = 0; n < N; n++) {
    if (tokens[n] < 0 || tokens[n] >= V)
      return xl::fail(XL_INVALID, "%s: token %d at position %lld lies outside of the vocabulary 0..%lld", kernel,
                      (int)tokens[n], (long long)n, (long long)V - 1);
  }
  return XL_OK;
}

}  // namespace
}  // namespace XL_NS
#endif
