// Linformer attention: keys and values of a document are projected along its steps onto R rows (E^T k, E^T v), over
// which all its steps attend. Products of small matrices throughout; a task is a head of a sequence.
#include <math.h>

#include "product.h"
#include "reduce.h"
#include "vmath.h"

using namespace XL_NS;

namespace {

// Queries that are worked on together.
constexpr int64_t QUERIES = 64;
// Heads are joined to so many groups at most, each with its own sum of the gradient of E.
constexpr int64_t GROUPS = 16;

struct Shape {
  int64_t B, T, NH, DK, DV, extent, R;
  float scale;
  int64_t row_k() const { return NH * DK; }
  int64_t row_v() const { return NH * DV; }
};

struct Inputs {
  const float *q, *k, *v, *E;
  const int32_t *positions;
};

int check(const char *name, const Shape &s, const Inputs &in) {
  if (s.B < 0 || s.T < 0 || s.NH < 1 || s.DK < 1 || s.DV < 1 || s.R < 1)
    return xl::fail(XL_INVALID,
                    "%s: B and T must not be negative and NH, DK, DV, R be positive, got B=%lld T=%lld NH=%lld "
                    "DK=%lld DV=%lld R=%lld",
                    name, (long long)s.B, (long long)s.T, (long long)s.NH, (long long)s.DK, (long long)s.DV,
                    (long long)s.R);
  for (int64_t n = 0; n < s.B * s.T; n++)
    if (in.positions[n] < 0 || in.positions[n] >= s.extent)
      return xl::fail(XL_INVALID, "%s: position %d at step %lld lies outside of 0..%lld, the rows of E", name,
                      (int)in.positions[n], (long long)(n % s.T), (long long)s.extent - 1);
  return XL_OK;
}

// A document of one head: its first row in q, k, v, its first row of E, its steps.
struct Document {
  const float *q, *k, *v, *E;
  int64_t row, n;  // row: (b * T + t) * NH + head
};

template <class Body>
void for_documents(const Shape &s, const Inputs &in, int64_t b, int64_t head, const Body &body) {
  const int32_t *positions = in.positions + b * s.T;
  for (int64_t t = 0; t < s.T;) {
    int64_t end = t + 1;
    while (end < s.T && positions[end] == positions[end - 1] + 1) end++;
    const int64_t row = (b * s.T + t) * s.NH + head;
    body(Document{in.q + row * s.DK, in.k + row * s.DK, in.v + row * s.DV, in.E + positions[t] * s.R, row, end - t});
    t = end;
  }
}

// c [R, width] = E^T x, or with `transposed` c [width, R] = x^T E, over the n steps of a document.
void project(float *c, const float *E, const float *x, int64_t step, int64_t n, int64_t R, int64_t width,
             bool transposed) {
  if (transposed)
    product({x, 1, step, E, R, c, R, width, R, n});
  else
    product({E, 1, R, x, step, c, width, R, width, n});
}

// Each row of n logits becomes its softmax.
void softmax_rows(float *logits, int64_t n, int64_t R, float scale) {
  for (int64_t t = 0; t < n; t++) {
    float *row = logits + t * R;
    float largest = -HUGE_VALF;
    for (int64_t r = 0; r < R; r++) largest = row[r] > largest ? row[r] : largest;
    vf sum = {};
    for_lanes(0, R, [&](int64_t r, auto lanes) {
      const vf weight = vexp((lanes.load(row + r) - largest) * scale);
      lanes.store(row + r, weight);
      sum += lanes.inside(weight);
    });
    const float inverse = 1 / hsum(sum);
    for_lanes(0, R, [&](int64_t r, auto lanes) { lanes.store(row + r, lanes.load(row + r) * inverse); });
  }
}

// weights [n, R] of the queries from t on.
void query_weights(float *weights, const Shape &s, const Document &doc, const float *keys, int64_t t, int64_t n) {
  product({doc.q + t * s.row_k(), s.row_k(), 1, keys, s.R, weights, s.R, n, s.R, s.DK});
  softmax_rows(weights, n, s.R, s.scale);
}

// The memory of one head, backward.
struct Head {
  float *keys_t, *keys;      // K'^T [DK, R], K' [R, DK]
  float *values_t;           // V'^T [DV, R]
  float *dkeys_t, *dkeys;    // likewise, without scale
  float *dvalues_t, *dvalues;
  float *weights, *dlogits;  // [QUERIES, R]

  static int64_t floats(const Shape &s) {
    return s.R * (4 * s.DK + 3 * s.DV + 2 * QUERIES);
  }
  Head(float *memory, const Shape &s) {
    auto take = [&](int64_t n) {
      float *p = memory;
      memory += n;
      return p;
    };
    keys_t = take(s.R * s.DK), keys = take(s.R * s.DK), dkeys_t = take(s.R * s.DK), dkeys = take(s.R * s.DK);
    values_t = take(s.R * s.DV), dvalues_t = take(s.R * s.DV), dvalues = take(s.R * s.DV);
    weights = take(QUERIES * s.R), dlogits = take(QUERIES * s.R);
  }
};

// dlogits, in place of dp: weights (dp - sum weights dp), times scale.
void softmax_back(float *dp, const float *weights, int64_t n, int64_t R, float scale) {
  for (int64_t t = 0; t < n; t++) {
    float *row = dp + t * R;
    const float *weight = weights + t * R;
    vf sum = {};
    for_lanes(0, R, [&](int64_t r, auto lanes) { sum += lanes.inside(lanes.load(row + r) * lanes.load(weight + r)); });
    const float mean = hsum(sum);
    for_lanes(0, R, [&](int64_t r, auto lanes) {
      lanes.store(row + r, (lanes.load(row + r) - mean) * lanes.load(weight + r) * scale);
    });
  }
}

struct Gradients {
  float *dq, *dk, *dv;
  float *dE;  // of the group, at position 0
  const float *dy;
};

void document_back(Head &head, const Shape &s, const Inputs &in, const Gradients &g, const Document &doc) {
  project(head.keys_t, doc.E, doc.k, s.row_k(), doc.n, s.R, s.DK, true);
  project(head.keys, doc.E, doc.k, s.row_k(), doc.n, s.R, s.DK, false);
  project(head.values_t, doc.E, doc.v, s.row_v(), doc.n, s.R, s.DV, true);
  for (int64_t t = 0; t < doc.n; t += QUERIES) {
    const int64_t n = min_of(QUERIES, doc.n - t);
    const bool more = t > 0;
    const float *q = doc.q + t * s.row_k(), *dy = g.dy + doc.row * s.DV + t * s.row_v();
    query_weights(head.weights, s, doc, head.keys_t, t, n);
    product({dy, s.row_v(), 1, head.values_t, s.R, head.dlogits, s.R, n, s.R, s.DV});
    // V' of both orders from weights and dy, K' from dlogits and q.
    product({head.weights, 1, s.R, dy, s.row_v(), head.dvalues, s.DV, s.R, s.DV, n, more});
    product({dy, 1, s.row_v(), head.weights, s.R, head.dvalues_t, s.R, s.DV, s.R, n, more});
    softmax_back(head.dlogits, head.weights, n, s.R, s.scale);
    product({head.dlogits, 1, s.R, q, s.row_k(), head.dkeys, s.DK, s.R, s.DK, n, more});
    product({q, 1, s.row_k(), head.dlogits, s.R, head.dkeys_t, s.R, s.DK, s.R, n, more});
    if (g.dq)
      product({head.dlogits, s.R, 1, head.keys, s.DK, g.dq + doc.row * s.DK + t * s.row_k(), s.row_k(), n, s.DK, s.R,
               true});
  }
  if (g.dk) product({doc.E, s.R, 1, head.dkeys, s.DK, g.dk + doc.row * s.DK, s.row_k(), doc.n, s.DK, s.R, true});
  if (g.dv) product({doc.E, s.R, 1, head.dvalues, s.DV, g.dv + doc.row * s.DV, s.row_v(), doc.n, s.DV, s.R, true});
  if (g.dE) {
    float *dE = g.dE + (doc.E - in.E);
    product({doc.k, s.row_k(), 1, head.dkeys_t, s.R, dE, s.R, doc.n, s.R, s.DK, true});
    product({doc.v, s.row_v(), 1, head.dvalues_t, s.R, dE, s.R, doc.n, s.R, s.DV, true});
  }
}

}  // namespace

extern "C" int XL_KERNEL(xl_linformer_forward)(float *y, const float *q, const float *k, const float *v,
                                               const float *E, const int32_t *positions, int64_t B, int64_t T,
                                               int64_t NH, int64_t DK, int64_t DV, int64_t P, int64_t R,
                                               double scale) {
  const Shape s{B, T, NH, DK, DV, P, R, float(scale)};
  const Inputs in{q, k, v, E, positions};
  if (int status = check("linformer_forward", s, in)) return status;
  const int64_t floats = R * (DK + DV + QUERIES);
  int failed = 0;
  parallel_for(B * NH, [&](int64_t task, int worker) {
    float *keys = xl::scratch(worker, floats);
    if (!keys) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    float *values = keys + R * DK, *weights = values + R * DV;
    for_documents(s, in, task / NH, task % NH, [&](const Document &doc) {
      project(keys, doc.E, doc.k, s.row_k(), doc.n, R, DK, true);
      project(values, doc.E, doc.v, s.row_v(), doc.n, R, DV, false);
      for (int64_t t = 0; t < doc.n; t += QUERIES) {
        const int64_t n = min_of(QUERIES, doc.n - t);
        query_weights(weights, s, doc, keys, t, n);
        product({weights, R, 1, values, DV, y + doc.row * DV + t * s.row_v(), s.row_v(), n, DV, R});
      }
    });
  });
  if (failed) return out_of_scratch("linformer_forward", floats);
  return XL_OK;
}

extern "C" int XL_KERNEL(xl_linformer_backward)(float *dq, float *dk, float *dv, float *dE, const float *dy,
                                                const float *q, const float *k, const float *v, const float *E,
                                                const int32_t *positions, int64_t B, int64_t T, int64_t NH, int64_t DK,
                                                int64_t DV, int64_t P, int64_t R, double scale) {
  const Shape s{B, T, NH, DK, DV, P, R, float(scale)};
  const Inputs in{q, k, v, E, positions};
  if (int status = check("linformer_backward", s, in)) return status;
  const int64_t heads = B * NH, together = max_of(1, ceil_div(heads, GROUPS)), groups = ceil_div(heads, together);
  float *sums = dE ? xl::shared_scratch(max_of(1, groups * P * R)) : nullptr;
  if (dE && !sums) return out_of_scratch("linformer_backward", groups * P * R);
  int failed = 0;
  parallel_for(groups, [&](int64_t group, int worker) {
    float *memory = xl::scratch(worker, Head::floats(s));
    if (!memory) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    Head head(memory, s);
    float *sum = dE ? sums + group * P * R : nullptr;
    if (sum) __builtin_memset(sum, 0, size_t(P * R) * sizeof(float));
    for (int64_t at = group * together; at < min_of(heads, (group + 1) * together); at++)
      for_documents(s, in, at / NH, at % NH,
                    [&](const Document &doc) { document_back(head, s, in, {dq, dk, dv, sum, dy}, doc); });
  });
  if (failed) return out_of_scratch("linformer_backward", Head::floats(s));
  if (dE && groups > 0) add_partials(dE, sums, groups, P * R, P * R);
  return XL_OK;
}
