// Decoding is bound by reading weights, and by what lies between kernels: a token of xLSTM-7B would be 800 of them. So the
// calls that a block of few rows consists of are not launched at once. They are kept as long as each next one fits what
// is there, and go out together when one does not, or when anything else is enqueued:
//
//   RMS norm -> products with matrices of the same x -> soft caps of products, residuals added to them, or the gated
//   activation of two: one launch of few_rows.cu;
//   step of the mLSTM -> layer norm of its h per head -> gated activation with it: one launch;
//   layer norm -> gated activation with it: one launch.
//
// So are zeros, which a backward pass fills gradients with before it adds to them. They go out first: nothing else is kept
// when they come.
//
// Every call still writes all its results. A call fits only if what it writes is disjoint from all that the others
// read or write, and what it reads from what they write (but for the results it goes on from): blocks of one launch run
// in any order. Freed memory that was handed out again is found in this way too.
#include "deferred.h"

#include <initializer_list>
#include <utility>

#include "device.h"
#include "few_rows.h"

namespace xl {
namespace {

constexpr int64_t MOST_NUMBERS = 1 << 17;  // of a layer norm; larger ones lose nothing by a launch
constexpr int64_t FLOAT_ROWS = 64;         // of a float32 matrix

struct Range {
  const char *begin = nullptr, *end = nullptr;
  Range() = default;
  template <class T>
  Range(const T *p, int64_t count)
      : begin(reinterpret_cast<const char *>(p)), end(begin + (p ? int64_t(sizeof(T)) * count : 0)) {}
  bool meets(const Range &other) const { return begin < other.end && other.begin < end; }
};

struct Ranges {
  static constexpr int MOST = 4 * FEW_ROWS_MATRICES + 8;
  Range list[MOST];
  int count = 0;
  bool has_room(size_t more) const { return count + int(more) <= MOST; }
  void push(const Range &range) { list[count++] = range; }
  bool meet(const Range &range) const {
    for (int r = 0; r < count; r++)
      if (list[r].meets(range)) return true;
    return false;
  }
};

enum class Kind { none, rms_norm, layer_norm, step, step_and_norm, products };

// What is kept, and the memory that it reads and writes.
struct Deferred {
  Kind kind = Kind::none;
  RmsNorm rms_norm{};  // also the norm before the products, if its y is not null
  MlstmStep step{};
  LayerNorm layer_norm{};
  FewRows products{};
  Ranges reads, writes;

  // Notes what one more call reads and writes; false, and nothing noted, where it does not fit.
  bool note(std::initializer_list<Range> read, std::initializer_list<Range> written) {
    if (!reads.has_room(read.size()) || !writes.has_room(written.size())) return false;
    for (const Range &range : read) {
      if (writes.meet(range)) return false;
      for (const Range &own : written)
        if (own.meets(range)) return false;
    }
    for (const Range &range : written)
      if (reads.meet(range) || writes.meet(range)) return false;
    for (const Range &range : read) reads.push(range);
    for (const Range &range : written) writes.push(range);
    return true;
  }
};

Deferred pending;

struct Zeros {
  void *y;
  int64_t bytes;
};
constexpr int MOST_ZEROS = 8;
Zeros zeros[MOST_ZEROS];
int zeros_count = 0;

int failure = XL_OK;  // of a deferred launch, until it is told

void note_failure(int status) {
  if (status != XL_OK) failure = status;
}

bool is_aligned(const void *p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

// The matrix whose product y is, if nothing follows it yet.
FewRowsMatrix *free_product(const float *y, int64_t size) {
  if (pending.kind != Kind::products || pending.products.gated) return nullptr;
  FewRows &p = pending.products;
  for (int m = 0; m < p.count; m++)
    if (p.matrices[m].y == y && p.N * p.matrices[m].O == size) return p.matrices[m].z ? nullptr : &p.matrices[m];
  return nullptr;
}

// Whether a product goes on from what is kept: the norm before it, or others of the same x.
bool continues(const FewRowsProduct &call) {
  if (pending.kind == Kind::rms_norm)
    return call.x == pending.rms_norm.y && call.N == pending.rms_norm.N && call.I == pending.rms_norm.D;
  if (pending.kind != Kind::products) return false;
  const FewRows &p = pending.products;
  const float *x = pending.rms_norm.y ? pending.rms_norm.y : p.x;
  return call.x == x && call.N == p.N && call.I == p.K && p.count < FEW_ROWS_MATRICES && !p.gated;
}

int64_t weight_bytes(const FewRowsProduct &call) { return call.O * call.I * (call.is_float ? 4 : 2); }

}  // namespace

bool defer(const RmsNorm &call) {
  if (call.N < 1 || call.N > FEW_ROWS || call.G != 1 || call.D < 1 || call.D % FEW_ROWS_STEP != 0) return false;
  if (!is_aligned(call.x) || !is_aligned(call.weight)) return false;
  launch_deferred();
  const int64_t size = call.N * call.D;
  if (!pending.note({{call.x, size}, {call.weight, call.D}}, {{call.y, size}, {call.rstd, call.N}})) return false;
  pending.kind = Kind::rms_norm;
  pending.rms_norm = call;
  return true;
}

bool defer(const MlstmStep &call) {
  if (!can_fuse_step(call)) return false;
  launch_deferred();
  const int64_t heads = call.B * call.NH, keys = heads * call.DK, values = heads * call.DV, memory = keys * call.DV;
  // A state may be updated in place, as a whole.
  const bool in_place = call.Cin == call.Cout && call.nin == call.nout && call.min == call.mout;
  const bool fits = pending.note({{call.q, keys}, {call.k, keys}, {call.v, values}, {call.i, heads}, {call.f, heads}},
                                 {{call.h, values}, {call.Cout, memory}, {call.nout, keys}, {call.mout, heads}});
  if (!fits || (!in_place && (pending.writes.meet({call.Cin, memory}) || pending.writes.meet({call.nin, keys}) ||
                              pending.writes.meet({call.min, heads})))) {
    pending = {};
    return false;
  }
  pending.kind = Kind::step;
  pending.step = call;
  return true;
}

bool defer(const LayerNorm &call) {
  if (call.N < 1 || call.N * call.G * call.D > MOST_NUMBERS) return false;
  const int64_t rows = call.N * call.G, size = rows * call.D, width = call.G * call.D;
  const MlstmStep &step = pending.step;
  if (pending.kind == Kind::step && call.x == step.h && call.N == step.B && call.G == step.NH && call.D == step.DV &&
      pending.note({{call.weight, width}, {call.bias, width}},
                   {{call.y, size}, {call.mean, rows}, {call.rstd, rows}})) {
    pending.kind = Kind::step_and_norm;
    pending.layer_norm = call;
    return true;
  }
  launch_deferred();
  if (!pending.note({{call.x, size}, {call.weight, width}, {call.bias, width}},
                    {{call.y, size}, {call.mean, rows}, {call.rstd, rows}}))
    return false;
  pending.kind = Kind::layer_norm;
  pending.layer_norm = call;
  return true;
}

bool defer(const FewRowsProduct &call) {
  if (call.N < 1 || call.N > FEW_ROWS || call.O < 1 || call.I < 1 || call.I % FEW_ROWS_STEP != 0) return false;
  if (!is_aligned(call.x) || !is_aligned(call.weight)) return false;
  const Range weight{static_cast<const char *>(call.weight), weight_bytes(call)}, bias{call.bias, call.O};
  const Range y{call.y, call.N * call.O};
  const FewRowsMatrix matrix{call.weight, call.is_float, call.bias, call.y, call.O, nullptr, 0, nullptr, 0};
  if (continues(call)) {
    // The first product behind a norm is bfloat16, since such units write the results of the norm.
    const bool fits = pending.kind == Kind::products ? !call.is_float || call.O <= FLOAT_ROWS : !call.is_float;
    if (fits && pending.note({weight, bias}, {y})) {
      FewRows &p = pending.products;
      if (pending.kind == Kind::rms_norm) {
        const RmsNorm &norm = pending.rms_norm;
        p.x = norm.x, p.N = norm.N, p.K = norm.D;
        p.norm = {norm.y, norm.rstd, norm.weight, norm.eps, norm.offset};
        pending.kind = Kind::products;
      }
      p.matrices[p.count++] = matrix;
      return true;
    }
  }
  if (call.is_float) return false;
  launch_deferred();
  if (!pending.note({weight, bias, {call.x, call.N * call.I}}, {y})) return false;
  pending.kind = Kind::products;
  pending.products.x = call.x, pending.products.N = call.N, pending.products.K = call.I;
  pending.products.matrices[pending.products.count++] = matrix;
  return true;
}

bool defer_soft_cap(float *y, const float *x, int64_t N, float cap) {
  FewRowsMatrix *product = free_product(x, N);
  if (!product || !(cap > 0) || !pending.note({}, {{y, N}})) return false;
  product->z = y;
  product->cap = cap;
  return true;
}

bool defer_add(float *y, const float *a, const float *b, int64_t N) {
  for (const auto &[x, other] : {std::pair{a, b}, std::pair{b, a}}) {
    FewRowsMatrix *product = free_product(x, N);
    if (!product || !pending.note({{other, N}}, {{y, N}})) continue;
    product->z = y;
    product->other = other;
    return true;
  }
  return false;
}

bool defer_gated_activation(float *y, const float *gate, const float *up, int64_t N, int activation) {
  if (pending.kind == Kind::layer_norm || pending.kind == Kind::step_and_norm) {
    const LayerNorm call = pending.layer_norm;
    if (up != call.y || N != call.N * call.G * call.D || !pending.note({{gate, N}}, {{y, N}})) return false;
    const MlstmStep step = pending.step;
    const bool has_step = pending.kind == Kind::step_and_norm;
    pending = {};
    note_failure(has_step ? mlstm_step_norm_now(step, call, y, gate, activation)
                          : layernorm_gated_now(call, y, gate, activation));
    return true;
  }
  const FewRowsMatrix *first = free_product(gate, N), *second = free_product(up, N);
  FewRows &p = pending.products;
  if (!first || !second || p.count != 2 || first != &p.matrices[0] || second != &p.matrices[1]) return false;
  if (first->is_float || second->is_float || !pending.note({}, {{y, N}})) return false;
  p.gated = y;
  p.activation = activation;
  return true;
}

void defer_zeros(void *y, int64_t bytes) {
  if (pending.kind != Kind::none || zeros_count == MOST_ZEROS) launch_deferred();
  zeros[zeros_count++] = {y, bytes};
}

bool claim_zeros(const void *y, int64_t bytes) {
  for (int k = 0; k < zeros_count; k++) {
    if (zeros[k].y != y || zeros[k].bytes != bytes) continue;
    for (zeros_count--; k < zeros_count; k++) zeros[k] = zeros[k + 1];
    return true;
  }
  return false;
}

void launch_deferred() {
  if (zeros_count == 0 && pending.kind == Kind::none) return;
  // All is taken first, since the launches ask for the stream, which would come here.
  Zeros fills[MOST_ZEROS];
  const int fills_count = zeros_count;
  for (int k = 0; k < fills_count; k++) fills[k] = zeros[k];
  Deferred now = pending;
  zeros_count = 0;
  pending = {};
  for (int k = 0; k < fills_count; k++)
    note_failure(check("fill", cudaMemsetAsync(fills[k].y, 0, size_t(fills[k].bytes), stream())));
  if (now.kind == Kind::rms_norm) note_failure(rmsnorm_now(now.rms_norm));
  if (now.kind == Kind::step || now.kind == Kind::step_and_norm) note_failure(mlstm_step_now(now.step));
  if (now.kind == Kind::layer_norm || now.kind == Kind::step_and_norm) note_failure(layernorm_now(now.layer_norm));
  if (now.kind == Kind::products) note_failure(few_rows(now.products));
}

int deferred_failure() {
  const int status = failure;
  failure = XL_OK;
  return status;
}

}  // namespace xl
