// mLSTM over a sequence, chunkwise (specification 1.4), and its backward pass: memory, and the order of the kernels.
//
// Forward: the gates of all steps; a walk over the chunks that keeps the state in registers and leaves the one before
// each chunk in memory; then all rows of all chunks at once, h from the scores of the chunk and from its state.
// Backward: the gates and the states again; the same walk back in time for the cotangent of the state; then dq, dk, dv,
// each a product of the forward's form (mlstm.cuh, Mix); last the gates' gradients from sums over pairs of steps.
//
// At B8 T8192, 8 heads, DK 256, DV 512 in bf16 with chunks of L = 256 steps, for an H100 (790 TFLOP/s for a large
// product, 3.0 TB/s for a copy), over the 524,288 head-steps:
//   walk        2 DK DV = 0.26 MFLOP a head-step; reads k and v, writes 0.54 GB of states: 1.3 GB, 0.45 ms
//   h           2 DK DV + 2 (L/2 + 32) (2 DK + DV) = 0.59 MFLOP; 2.1 GB, 0.7 ms
//   walk back   as the walk, and reads the states: 1.9 GB, 0.65 ms
//   dq, dk, dv  2 DK DV + 2 (L/2 + 32) (DK + DV) (dv: 2 DK + DV) = 0.51 to 0.59 MFLOP each; 2.7 GB each, 2.7 ms
//   q . n and dh . h: 1.6 GB, 0.55 ms
// so 0.45 TFLOP and 3.5 GB forward, 1.1 TFLOP and 13 GB backward: the memory is the limit, 1.15 and 4.4 ms, and next to
// it the L2 cache, from which blocks read two to three times as much. Measured: 1.74 and 6.2 ms. L = 256 trades 15 %
// more operations for a quarter of the states of L = 64; L = 512 came out 6 % slower. States need two bytes a number,
// since the tensor cores take them as bf16.
#include "deferred.h"
#include "mlstm.cuh"

namespace xl {
namespace mlstm {
namespace {

constexpr int64_t scratch_limit = int64_t(2) << 30;  // heads beyond it are done in groups

struct Arena {
  char *base;
  int64_t used = 0;

  template <class F>
  F *take(int64_t count) {
    F *p = reinterpret_cast<F *>(base + used);
    used += round_up(count * int64_t(sizeof(F)), 256);
    return p;
  }
};

struct Tensors {
  const float *Cin, *nin, *min;
  const uint8_t *reset;
  const float *i, *f;
};

// The memory of a group of heads.
struct Memory {
  Gates gates;
  void *states, *dstates;
  float *vectors, *dvectors, *sums, *maximum, *across;
  float *from_state, *to_state, *received, *given, *span;

  Memory(Arena &arena, const Shape &s, bool fast, bool backward) {
    const int64_t steps = s.heads * s.Tp, chunks = s.heads * s.NC, state = chunks * s.DK * s.DV * (fast ? 2 : 4);
    gates.t_side = arena.take<float4>(steps);
    gates.doc = arena.take<int>(steps);
    gates.s_side = arena.take<float2>(steps);
    gates.query_state = arena.take<float>(steps);
    gates.last = arena.take<float>(steps);
    gates.chosen = arena.take<uint8_t>(steps);
    gates.carry = arena.take<float>(chunks);
    gates.rescale = arena.take<float>(s.heads);
    gates.sum = arena.take<double>(chunks);
    gates.largest = arena.take<double>(chunks);
    gates.last_doc = arena.take<int>(chunks);
    states = arena.take<char>(state);
    vectors = arena.take<float>(chunks * s.DK);
    gates.query_n = nullptr;
    if (!backward) return;
    const int slices = fast ? mma_slices(s.DK) : general_slices(s.DK), tiles = fast ? mma_tiles(s) : general_tiles(s);
    gates.query_n = arena.take<float>(steps);
    dstates = arena.take<char>(state);
    dvectors = arena.take<float>(chunks * s.DK);
    sums = arena.take<float>(steps);
    maximum = arena.take<float>(steps);
    across = arena.take<float>(chunks * tiles);
    from_state = arena.take<float>(slices * steps);
    to_state = arena.take<float>(slices * steps);
    received = arena.take<float>(fast ? slices * steps : 0);
    given = arena.take<float>(fast ? slices * steps : steps);
    span = fast ? nullptr : arena.take<float>(steps);
  }
};

template <class T>
bool aligned(const T *p) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0;
}

inline bool takes_mma(const Shape &, const float *, const float *, const float *) { return false; }
inline bool takes_mma(const Shape &s, const bf16 *q, const bf16 *k, const bf16 *v) {
  return mma_fits(s) && aligned(q) && aligned(k) && aligned(v);
}

inline int run_states(bool, const Shape &s, const Gates &g, const StateUpdate<float> &u) {
  return run_states_general(s, g, u);
}
inline int run_states(bool fast, const Shape &s, const Gates &g, const StateUpdate<bf16> &u) {
  return fast ? run_states_mma(s, g, u) : run_states_general(s, g, u);
}
inline int run_mix(bool, Mode mode, const Shape &s, const Gates &g, const Mix<float> &mix) {
  return run_mix_general(mode, s, g, mix);
}
inline int run_mix(bool fast, Mode mode, const Shape &s, const Gates &g, const Mix<bf16> &mix) {
  return fast ? run_mix_mma(mode, s, g, mix) : run_mix_general(mode, s, g, mix);
}

int check(const char *name, int64_t B, int64_t T, int64_t NH, int64_t DK, int64_t DV, int64_t L, int32_t input_gate) {
  if (B < 0 || T < 0 || NH < 1 || DK < 1 || DV < 1 || L < 1)
    return fail(XL_INVALID,
                "%s: B and T must not be negative and NH, DK, DV, L must be positive, got B=%lld T=%lld NH=%lld "
                "DK=%lld DV=%lld L=%lld",
                name, (long long)B, (long long)T, (long long)NH, (long long)DK, (long long)DV, (long long)L);
  if (input_gate != XL_GATE_EXPONENTIAL && input_gate != XL_GATE_SIGMOID)
    return fail(XL_INVALID, "%s: input gate must be %d (exponential) or %d (sigmoid), got %d", name,
                XL_GATE_EXPONENTIAL, XL_GATE_SIGMOID, input_gate);
  return XL_OK;
}

// Calls body(shape, memory) for groups of heads that fit the workspace.
template <class Body>
int for_groups(const char *name, Shape s, bool fast, bool backward, Body body) {
  s.L = fast ? mma_chunk(s) : general_L;
  s.NC = int(s.T > 0 ? ceil_div(s.T, s.L) : 1);
  s.Tp = int64_t(s.NC) * s.L;
  const int64_t all = s.B * s.NH;
  s.heads = 1;
  Arena count{nullptr};
  Memory(count, s, fast, backward);
  int64_t group = scratch_limit / count.used;
  group = group < 1 ? 1 : group > all ? all : group > 32768 ? 32768 : group;
  for (s.bh0 = 0; s.bh0 < all; s.bh0 += group) {
    s.heads = all - s.bh0 < group ? all - s.bh0 : group;
    Arena size{nullptr};
    Memory(size, s, fast, backward);
    Arena arena{static_cast<char *>(scratch(size.used))};
    if (!arena.base)
      return fail(XL_OUT_OF_MEMORY, "%s: no memory for the working state of B=%lld T=%lld DK=%lld DV=%lld", name,
                  (long long)s.B, (long long)s.T, (long long)s.DK, (long long)s.DV);
    const Memory memory(arena, s, fast, backward);
    if (const int status = body(s, memory)) return status;
  }
  return XL_OK;
}

// Gates and the states that enter the chunks.
template <class T>
int walk_forward(bool fast, const Shape &s, const Memory &mem, const Tensors &in, const T *k, const T *v, float *m,
                 float *Cout, float *nout, float *mout) {
  if (const int status = run_gates(s, mem.gates, {in.i, in.f, in.min, in.reset}, m, mout)) return status;
  StateUpdate<T> u{};
  u.a = k;
  u.b = v;
  u.weight = u.vector_weight = mem.gates.last;
  u.first = in.Cin;
  u.vector_first = in.nin;
  u.out = Cout;
  u.vector_out = nout;
  u.out_factor = mem.gates.rescale;
  u.states = mem.states;
  u.vectors = mem.vectors;
  return run_states(fast, s, mem.gates, u);
}

template <class T>
int forward(T *h, float *m, float *denominator, float *Cout, float *nout, float *mout, const T *q, const T *k,
            const T *v, const Tensors &in, Shape shape, int32_t input_gate, int64_t L) {
  const char *name = "mlstm forward";
  if (const int status = check(name, shape.B, shape.T, shape.NH, shape.DK, shape.DV, L, input_gate)) return status;
  if (shape.B == 0) return XL_OK;
  const bool fast = takes_mma(shape, q, k, v) && aligned(h);
  return for_groups(name, shape, fast, false, [&](const Shape &s, const Memory &mem) {
    if (const int status = walk_forward(fast, s, mem, in, k, v, m, Cout, nout, mout)) return status;
    Mix<T> mix{};
    mix.x = q;
    mix.y = k;
    mix.z = v;
    mix.out = h;
    mix.states = mem.states;
    mix.vectors = mem.vectors;
    mix.row_state = mem.gates.query_state;
    mix.skip = in.Cin || in.nin ? -1 : 0;
    mix.m = m;
    mix.denominator = denominator;
    return run_mix(fast, FORWARD, s, mem.gates, mix);
  });
}

template <class T>
struct Gradients {
  T *dq, *dk, *dv;
  float *di, *df, *dCin, *dnin, *dmin;
  const T *dh;
  const float *dCout, *dnout, *dmout;
  bool dq_is_zero = false, dk_is_zero = false, dv_is_zero = false;
};

template <class T>
int backward_group(bool fast, const Shape &s, const Memory &mem, const Tensors &in, const T *q, const T *k, const T *v,
                   const T *h, const float *m, const float *denominator, const Gradients<T> &d) {
  const Gates &g = mem.gates;
  if (const int status = walk_forward<T>(fast, s, mem, in, k, v, nullptr, nullptr, nullptr, nullptr)) return status;

  Mix<T> base{};
  base.states = mem.states;
  base.vectors = mem.vectors;
  base.row_state = g.query_state;
  base.skip = in.Cin || in.nin ? -1 : 0;
  if (s.normalize) {
    Mix<T> sums = base;
    sums.x = q;
    sums.y = k;
    sums.sums = mem.sums;
    if (const int status = run_mix(fast, SUMS, s, g, sums)) return status;
  }
  if (const int status = run_cotangents(s, g, d.dh, h, m, denominator, mem.sums, mem.maximum)) return status;

  StateUpdate<T> u{};
  u.a = q;
  u.b = d.dh;
  u.weight = g.query_state;
  u.vector_weight = g.query_n;
  u.first = d.dCout;
  u.vector_first = d.dnout;
  u.first_factor = g.rescale;
  u.out = d.dCin;
  u.vector_out = d.dnin;
  u.add = u.reversed = true;
  u.states = mem.dstates;
  u.vectors = mem.dvectors;
  u.other = mem.states;
  u.other_vectors = mem.vectors;
  u.across = mem.across;
  if (const int status = run_states(fast, s, g, u)) return status;

  Mix<T> dq = base;
  dq.x = d.dh;
  dq.y = v;
  dq.z = k;
  dq.out = d.dq;
  dq.is_zero = d.dq_is_zero;
  dq.partner = q;
  dq.row_vector = g.query_n;
  dq.inter = mem.from_state;
  dq.intra = mem.received;
  if (const int status = run_mix(fast, QUERY, s, g, dq)) return status;

  Mix<T> dk{};
  dk.x = v;
  dk.y = d.dh;
  dk.z = q;
  dk.out = d.dk;
  dk.is_zero = d.dk_is_zero;
  dk.partner = k;
  dk.states = mem.dstates;
  dk.vectors = mem.dvectors;
  dk.row_state = dk.row_vector = g.last;
  dk.inter = mem.to_state;
  dk.intra = mem.given;
  dk.skip = d.dCout || d.dnout ? -1 : s.NC - 1;
  if (const int status = run_mix(fast, KEY, s, g, dk)) return status;

  Mix<T> dv = dk;
  dv.x = k;
  dv.y = q;
  dv.z = d.dh;
  dv.out = d.dv;
  dv.is_zero = d.dv_is_zero;
  if (const int status = run_mix(fast, VALUE, s, g, dv)) return status;

  if (!fast)
    if (const int status = run_spans(s, g, q, k, v, d.dh, mem.given, mem.span)) return status;
  GateGradient gradient{};
  gradient.from_state = mem.from_state;
  gradient.to_state = mem.to_state;
  gradient.given = mem.given;
  gradient.span = mem.span;
  gradient.received = mem.received;
  gradient.across = mem.across;
  gradient.maximum = mem.maximum;
  gradient.slices = fast ? mma_slices(s.DK) : general_slices(s.DK);
  gradient.tiles = fast ? mma_tiles(s) : general_tiles(s);
  gradient.dmout = d.dmout;
  gradient.di = d.di;
  gradient.df = d.df;
  gradient.dmin = d.dmin;
  return run_gate_gradient(s, g, {in.i, in.f, in.min, in.reset}, gradient);
}

template <class T>
int backward(Gradients<T> d, const T *q, const T *k, const T *v, const Tensors &in, const T *h, const float *m,
             const float *denominator, Shape shape, int32_t input_gate, int64_t L) {
  const char *name = "mlstm backward";
  if (const int status = check(name, shape.B, shape.T, shape.NH, shape.DK, shape.DV, L, input_gate)) return status;
  if (shape.B == 0) return XL_OK;
  const int64_t rows = int64_t(sizeof(T)) * shape.B * shape.T * shape.NH;
  d.dq_is_zero = claim_zeros(d.dq, rows * shape.DK);
  d.dk_is_zero = claim_zeros(d.dk, rows * shape.DK);
  d.dv_is_zero = claim_zeros(d.dv, rows * shape.DV);
  const bool fast =
      takes_mma(shape, q, k, v) && aligned(h) && aligned(d.dq) && aligned(d.dk) && aligned(d.dv) && aligned(d.dh);
  return for_groups(name, shape, fast, true, [&](const Shape &s, const Memory &mem) {
    return backward_group(fast, s, mem, in, q, k, v, h, m, denominator, d);
  });
}

Shape shape_of(int64_t B, int64_t T, int64_t NH, int64_t DK, int64_t DV, float eps, int32_t input_gate,
               int32_t normalize) {
  Shape s{};
  s.B = B;
  s.T = T;
  s.NH = NH;
  s.DK = DK;
  s.DV = DV;
  s.eps = eps;
  s.scale = float(1 / sqrt(double(DK)));
  s.exponential = input_gate == XL_GATE_EXPONENTIAL;
  s.normalize = normalize != 0;
  return s;
}

}  // namespace
}  // namespace mlstm
}  // namespace xl

using namespace xl::mlstm;

#define XL_MLSTM(SUFFIX, T)                                                                                           \
  extern "C" XL_API int xl_mlstm_forward##SUFFIX(                                                                     \
      T *h, float *m, float *denominator, float *Cout, float *nout, float *mout, const T *q, const T *k, const T *v,  \
      const float *i, const float *f, const float *Cin, const float *nin, const float *min, const uint8_t *reset,     \
      int64_t B, int64_t T_, int64_t NH, int64_t DK, int64_t DV, int64_t L, float eps, int32_t input_gate,            \
      int32_t normalize) {                                                                                            \
    return forward<T>(h, m, denominator, Cout, nout, mout, q, k, v, {Cin, nin, min, reset, i, f},                     \
                      shape_of(B, T_, NH, DK, DV, eps, input_gate, normalize), input_gate, L);                        \
  }                                                                                                                   \
  extern "C" XL_API int xl_mlstm_backward##SUFFIX(                                                                    \
      T *dq, T *dk, T *dv, float *di, float *df, float *dCin, float *dnin, float *dmin, const T *dh,                  \
      const float *dCout, const float *dnout, const float *dmout, const T *q, const T *k, const T *v, const float *i, \
      const float *f, const float *Cin, const float *nin, const float *min, const uint8_t *reset, const T *h,         \
      const float *m, const float *denominator, int64_t B, int64_t T_, int64_t NH, int64_t DK, int64_t DV, int64_t L, \
      float eps, int32_t input_gate, int32_t normalize) {                                                             \
    return backward<T>({dq, dk, dv, di, df, dCin, dnin, dmin, dh, dCout, dnout, dmout}, q, k, v,                      \
                       {Cin, nin, min, reset, i, f}, h, m, denominator,                                               \
                       shape_of(B, T_, NH, DK, DV, eps, input_gate, normalize), input_gate, L);                       \
  }

XL_MLSTM(, float)
XL_MLSTM(_bf16, xl::bf16)
