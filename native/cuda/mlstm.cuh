// What the CUDA kernels of the mLSTM over a sequence share: sizes, the gates of every step in log space, and the two
// products that everything is made of. How the parts fit together is said in mlstm.cu.
//
// A sequence is cut into chunks of L steps. Within a chunk that starts with the state (C, n, m), with b_t = sum of
// log f up to t and u_s = log i_s - b_s:
//   exponential gate: M_t = max(m, max_{s<=t} u_s), m_t = b_t + M_t, ref_t = -M_t, start = m;
//   sigmoid gate:     m_t = 0,                                       ref_t =  b_t, start = 0;
//   weight of input s at step t: W[t,s] = exp(ref_t + u_s); of the state at step t: exp(ref_t + start).
// A document that begins within a chunk masks these weights; no chunk ends early. No exponent that counts is above
// zero.
#ifndef XL_CUDA_MLSTM_CUH
#define XL_CUDA_MLSTM_CUH
#include "kernel.cuh"

namespace xl {
namespace mlstm {

struct Shape {
  int64_t B, T, NH, DK, DV;
  int L, NC;           // steps of a chunk, chunks
  int64_t Tp;          // NC * L
  int64_t bh0, heads;  // of the B * NH heads, those of this group
  float eps, scale;    // scale = 1 / sqrt(DK)
  bool exponential, normalize;

  // Row of step t of head `at` of the group in [B,T,NH].
  __host__ __device__ int64_t row(int64_t at, int64_t t) const {
    const uint32_t bh = uint32_t(bh0 + at), heads_of_sequence = uint32_t(NH);
    return (bh / heads_of_sequence * T + t) * NH + bh % heads_of_sequence;
  }
};

// Arrays over [heads, Tp] where nothing else is said; steps from T on have the weight zero.
struct Gates {
  float4 *t_side;  // ref_t in units of log 2 as a sum of two floats; what scores of step t are multiplied with; added
  int *doc;        // where the document of step t begins within its chunk; 0 if before it
  float2 *s_side;  // u_s in units of log 2 as a sum of two floats
  float *query_state;  // weight of the state at step t, times scale (times the scores' factor in the backward pass)
  float *query_n;      // backward: the same times the cotangent of the normaliser
  float *last;         // weight of input s in the state that leaves the chunk
  uint8_t *chosen;     // whether m_t is i~_t
  float *carry;        // [heads, NC] weight of the state in the state that leaves the chunk
  float *rescale;      // [heads] from the last state to the one for a rounded m
  // Summaries of chunks, [heads, NC].
  double *sum, *largest;
  int *last_doc;
};

struct GateInputs {
  const float *i, *f, *min;
  const uint8_t *reset;
};

int run_gates(const Shape &s, const Gates &g, const GateInputs &in, float *m, float *mout);

// state = carry * state + sum over a chunk's steps of (weight a) b^T; vector = carry * vector + sum of vector_weight a.
template <class T>
struct StateUpdate {
  const T *a, *b;  // [B,T,NH,DK], [B,T,NH,DV]
  const float *weight, *vector_weight;
  const float *first, *vector_first;  // [B,NH,DK,DV], [B,NH,DK] or NULL
  const float *first_factor;          // [heads] or NULL
  float *out, *vector_out;            // of the last state, or NULL
  const float *out_factor;            // [heads] or NULL
  bool add, reversed;                 // add to `out`; walk back in time
  void *states;       // [heads, NC, DK, DV] of float or bf16: the state before each chunk in walking order
  float *vectors;     // [heads, NC, DK]
  const void *other;  // backward: states of the forward walk
  const float *other_vectors;
  float *across;  // backward: [heads, NC, tiles], carry <state, other> of each chunk, in parts
};

enum Mode { FORWARD, SUMS, QUERY, KEY, VALUE };

// out[r] = row_state_r (x_r M + ..) + sum over columns c of P[r,c] z_c, with scores P[r,c] = W (t_mul x_r . y_c +
// t_add):
//   mode      rows    x   y   z   M    out
//   FORWARD   t       q   k   v   C    h times the denominator
//   SUMS      t       q   k             q^ . n, no vectors
//   QUERY     t       dh  v   k   C^T  dq
//   KEY       s       v   dh  q   dC^T dk
//   VALUE     s       k   q   dh  dC   dv
template <class T>
struct Mix {
  const T *x, *y, *z;
  T *out;
  bool is_zero;          // out, to which dq, dk and dv are added
  const T *partner;      // QUERY, KEY: q, k, whose products with the result the gates' gradients need
  const void *states;    // M of each chunk, [heads, NC, DK, DV]
  const float *vectors;  // n or dn of each chunk, [heads, NC, DK]
  const float *row_state, *row_vector;
  float *inter, *intra;  // QUERY, KEY: [slices, heads, Tp] partner . (part from the state, part from the chunk)
  int skip;              // a chunk whose M is zero, or -1
  const float *m;        // FORWARD
  float *denominator;    // FORWARD
  float *sums;           // SUMS: [heads, Tp]
};

// Plain float32 arithmetic, any size; states are float; chunks have 64 steps. Return the slices or tiles of parts.
constexpr int general_L = 64;
template <class T>
int run_states_general(const Shape &s, const Gates &g, const StateUpdate<T> &u);
template <class T>
int run_mix_general(Mode mode, const Shape &s, const Gates &g, const Mix<T> &mix);
// Per step: what inputs give to steps of their chunk, and what crosses each forget gate within its chunk.
template <class T>
int run_spans(const Shape &s, const Gates &g, const T *q, const T *k, const T *v, const T *dh, float *given,
              float *span);

// Tensor cores, bf16, states are bf16.
bool mma_fits(const Shape &s);
int mma_chunk(const Shape &s);
int run_states_mma(const Shape &s, const Gates &g, const StateUpdate<bf16> &u);
int run_mix_mma(Mode mode, const Shape &s, const Gates &g, const Mix<bf16> &mix);

// How many parts the kernels above leave to be added up.
int general_tiles(const Shape &s);
int general_slices(int64_t D);
int mma_tiles(const Shape &s);
int mma_slices(int64_t D);

// Sets the scores' factors of the backward pass and `maximum`, each step's cotangent of m beyond the memory.
template <class T>
int run_cotangents(const Shape &s, const Gates &g, const T *dh, const T *h, const float *m, const float *denominator,
                   const float *sums, float *maximum);

struct GateGradient {
  const float *from_state, *to_state;  // [slices, heads, Tp]
  const float *given, *span;           // [heads, Tp]; or without span:
  const float *received;               // [slices, heads, Tp], and given likewise
  const float *across;                 // [heads, NC, tiles]
  const float *maximum;                // [heads, Tp]
  int slices, tiles;
  const float *dmout;
  float *di, *df, *dmin;
};
int run_gate_gradient(const Shape &s, const Gates &g, const GateInputs &in, const GateGradient &gradient);

}  // namespace mlstm
}  // namespace xl
#endif
