// What the forward and the backward pass of softmax attention share: sizes, the queries of a tile, the keys that they
// see, and the logits of both. Logits of a tile lie as [key][query], so that what belongs to a query (its largest
// logit, its sum) is a lane, and both products that follow read them as they are.
#ifndef XL_CPU_ATTENTION_H
#define XL_CPU_ATTENTION_H
#include <math.h>

#include "panels.h"
#include "reduce.h"
#include "vmath.h"

namespace XL_NS {
namespace {

// Rows of a tile of registers, two vectors wide where there are few of them; what MR is elsewhere leaves some unused.
constexpr int ROWS = NR == 2 ? 6 : MR;
// Steps of a tile of queries and of keys, at most: a tile of each, and their logits, stay in L1 and L2. Keys are copied
// for each tile of queries, so that these are the larger ones.
constexpr int64_t QUERIES = 32 * ROWS, KEYS = 16 * ROWS;

struct AttentionShape {
  int64_t B, T, NH, NKV, DK, DV;
  int64_t window, rows, extent;  // W, Q and P of the contract
  float scale;
  bool causal, has_keys;

  int64_t padded_k() const { return has_keys ? round_up(DK, W) : 0; }
  int64_t padded_v() const { return round_up(DV, W); }
  // Floats between rows of a copy; the extra vector spreads the rows over the cache sets.
  int64_t row_k() const { return padded_k() + W; }
  int64_t row_v() const { return padded_v() + W; }
  int64_t group() const { return NH / NKV; }
  // Where the bias of a query and the first key begins, and how far that of the next query is.
  int64_t bias_at(int64_t head, int64_t position) const { return (head * rows + (rows == 1 ? 0 : position)) * extent; }
  int64_t bias_step() const { return rows == 1 ? 0 : extent; }
};

struct AttentionInputs {
  const float *q, *k, *v, *bias, *k_cache, *v_cache;
  const int32_t *positions;
};

inline int check_attention(const char *name, const AttentionShape &s, const AttentionInputs &in) {
  if (s.B < 0 || s.T < 0 || s.NKV < 1 || s.NH < s.NKV || s.NH % s.NKV != 0 || s.DV < 1 || (s.has_keys && s.DK < 1) ||
      s.window < 1)
    return xl::fail(XL_INVALID,
                    "%s: B and T must not be negative, DK, DV, W must be positive and NKV divide NH, got B=%lld T=%lld "
                    "NH=%lld NKV=%lld DK=%lld DV=%lld W=%lld",
                    name, (long long)s.B, (long long)s.T, (long long)s.NH, (long long)s.NKV, (long long)s.DK,
                    (long long)s.DV, (long long)s.window);
  if (!in.q != !in.k || (!in.q && !in.bias) || (in.q && !in.k_cache != !in.v_cache))
    return xl::fail(XL_INVALID, "%s: needs q and k, or bias and neither, and a cache of both k and v or of neither",
                    name);
  if (in.bias && s.rows != s.extent && s.rows != 1)
    return xl::fail(XL_INVALID, "%s: the bias must have a row per position or one, got Q=%lld P=%lld", name,
                    (long long)s.rows, (long long)s.extent);
  const int64_t limit = in.bias ? s.extent : INT32_MAX;
  for (int64_t n = 0; n < s.B * s.T; n++)
    if (in.positions[n] < 0 || in.positions[n] >= limit)
      return xl::fail(XL_INVALID, "%s: position %d at step %lld lies outside of 0..%lld, those of the bias", name,
                      (int)in.positions[n], (long long)(n % s.T), (long long)limit - 1);
  return XL_OK;
}

// Steps t .. t+n-1 of sequence b, of one document; the first is at `position`.
struct Span {
  int64_t b, t, n, position;
  // The step at which position 0 would lie: before this call if negative.
  int64_t start() const { return t - position; }
};

// body(span) for the pieces of steps t .. end-1 that lie in one document each.
template <class Body>
inline void for_spans(const AttentionShape &s, const int32_t *positions, int64_t b, int64_t t, int64_t end,
                      const Body &body) {
  const int32_t *row = positions + b * s.T;
  while (t < end) {
    int64_t stop = t + 1;
    while (stop < end && row[stop] == row[stop - 1] + 1) stop++;
    body(Span{b, t, stop - t, row[t]});
    t = stop;
  }
}

// n keys and values from `position` on, in rows row .. row+n-1 of the call [B*T,NKV,..] or of the cache [B*W,NKV,..].
struct KeyTile {
  int64_t row, n, position;
  bool cached;
};

// Where the document of a span ends in this call.
inline int64_t document_end(const AttentionShape &s, const int32_t *positions, const Span &span) {
  const int32_t *row = positions + span.b * s.T;
  int64_t end = span.t + span.n;
  while (end < s.T && row[end] == row[end - 1] + 1) end++;
  return end;
}

// body(tile) for all keys that the queries of the span see, oldest first.
template <class Body>
inline void for_key_tiles(const AttentionShape &s, const AttentionInputs &in, const Span &span, const Body &body) {
  const int64_t start = span.start();
  int64_t position = s.causal ? max_of(0, span.position - s.window + 1) : 0;
  if (s.causal && in.v_cache) {
    for (const int64_t end = -start; position < end;) {
      const int64_t slot = position % s.window;
      const int64_t n = min_of(min_of(KEYS, s.window - slot), end - position);
      body(KeyTile{span.b * s.window + slot, n, position, true});
      position += n;
    }
  }
  position = max_of(position, -start);
  const int64_t end = (s.causal ? span.t + span.n : document_end(s, in.positions, span)) - start;
  for (; position < end; position += KEYS)
    body(KeyTile{span.b * s.T + start + position, min_of(KEYS, end - position), position, false});
}

// Which keys of a tile a query sees, and which queries a key: as offsets into the tile and the span. Whole ranges where
// attention is not causal.
struct Sight {
  int64_t ahead;  // position of key 0 - position of query 0
  int64_t queries, keys, window;
  bool causal;
  Sight(const AttentionShape &s, const Span &span, const KeyTile &tile)
      : ahead(tile.position - span.position), queries(span.n), keys(tile.n), window(s.window), causal(s.causal) {}

  // Keys first_key(t) .. end_key(t')-1 are seen by some query of t .. t'.
  int64_t first_key(int64_t t) const { return causal ? max_of(0, t - window + 1 - ahead) : 0; }
  int64_t end_key(int64_t t) const { return causal ? max_of(0, min_of(keys, min_of(t, queries - 1) - ahead + 1)) : keys; }
  // Queries first_query(s) .. end_query(s')-1 see some key of s .. s'.
  int64_t first_query(int64_t s) const { return causal ? max_of(0, ahead + s) : 0; }
  int64_t end_query(int64_t s) const { return causal ? min_of(queries, ahead + s + window) : queries; }
  // Whether queries t .. t+width-1 all see keys s .. s+ROWS-1, and all of these exist.
  bool all(int64_t s, int64_t t, int64_t width) const {
    if (s + ROWS > keys) return false;
    return !causal || (ahead + s + ROWS - 1 <= t && t + width - 1 - window < ahead + s);
  }
  // Of queries t .. t+W-1, those that see key s; none where it does not exist.
  vi lanes(int64_t s, int64_t t) const {
    if (s >= keys) return vi{};
    if (!causal) return ~vi{};
    const int64_t from = ahead + s - t, to = from + window;
    return ~first_lanes(max_of(0, min_of(from, W))) & first_lanes(max_of(0, min_of(to, W)));
  }
};

// The queries of a panel and the keys of a tile, as the products want them.
struct LogitInputs {
  const float *keys;     // rows, row_k apart, zeros up to a multiple of ROWS rows
  const float *queries;  // one panel [padded_k, P], scaled
  const float *bias;     // [keys, P] or NULL
};

// put(s, at, logits, whole) for each group of ROWS keys from s on and vector of queries col+at .. of a panel that see
// each other somewhere: `whole` if all of them do. Vectors before the first query that sees a key are left out.
template <int NV, class Put>
XL_INLINE void panel_logits(const AttentionShape &shape, const Sight &sight, LogitInputs in, int64_t col,
                            const Put &put) {
  const int64_t row_k = shape.row_k();
  const int64_t first_row = sight.first_key(col) / ROWS * ROWS, end_row = sight.end_key(col + NV * W - 1);
  for (int64_t s = first_row; s < end_row; s += ROWS) {
    const int64_t first = max_of(0, sight.first_query(s) - col) / W;
    with_vectors(NV - first, [&](auto count) {
      constexpr int N = decltype(count)::value;
      vf acc[ROWS][N];
      tile_zero(acc);
      if (in.queries) tile_product(acc, in.keys + s * row_k, row_k, 1, in.queries + first * W, shape.DK);
      const bool whole = sight.all(s, col + first * W, N * W);
#pragma GCC unroll 4
      for (int v = 0; v < N; v++) {
        const int64_t at = (first + v) * W;
        vf logits[ROWS];
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) logits[r] = in.bias ? acc[r][v] + load(in.bias + (s + r) * P + at) : acc[r][v];
        put(s, at, logits, whole);
      }
    });
  }
}

// Bias of the queries of a panel and the keys of a tile as [KEYS, P], zeros where there are none up to a multiple of ROWS;
// `rows` is room for [P, KEYS + W].
inline void load_bias(float *to, float *rows, const AttentionShape &s, const float *bias, int64_t head,
                      const Span &span, const KeyTile &tile, int64_t col) {
  const int64_t n = min_of(P, span.n - col), padded = round_up(tile.n, W);
  const float *from = bias + s.bias_at(head, span.position + col) + tile.position;
  copy_rows(rows, KEYS + W, round_up(n, W), padded, {from, s.bias_step(), n, tile.n}, 1);
  transpose_to_panels(to, rows, KEYS + W, round_up(n, W), padded);
}

// The rows of a head of a tile's keys or values.
inline Source tile_rows(const AttentionShape &s, const KeyTile &tile, int64_t head, const float *call,
                        const float *cache, int64_t width) {
  const float *from = tile.cached ? cache : call;
  return {from + (tile.row * s.NKV + head / s.group()) * width, s.NKV * width, tile.n, width};
}

// The rows of a head of a span's queries, or of what has their shape.
inline Source span_rows(const AttentionShape &s, const Span &span, int64_t head, const float *from, int64_t width) {
  return {from + ((span.b * s.T + span.t) * s.NH + head) * width, s.NH * width, span.n, width};
}

}  // namespace
}  // namespace XL_NS
#endif
