/*
 * xl.h: the C ABI of a device library (CPU, CUDA): memory, threads and the kernels of src/device/kernels.ts.
 * It says what each call takes; what each kernel computes is defined by src/device/reference/.
 *
 * - Every call returns a status: XL_OK, or an error whose sentence xl_last_error() gives (per thread).
 * - Kernel arguments have the names and the order of kernels.ts (snake_case here): outputs, inputs, sizes, options.
 *   float *, xl_data *, int32_t * and uint8_t * are device addresses; void * and const char * are host memory.
 *   A null input is absent, a null output is not wanted. Backward kernels add into gradients.
 * - Node reads the prototypes from this very file, so each stays a plain declaration: XL_API int name(type name, ...);
 */
#ifndef XL_H
#define XL_H
#include <stdint.h>

#if defined(_WIN32)
#define XL_API __declspec(dllexport)
#else
#define XL_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum { XL_OK = 0, XL_INVALID = 1, XL_OUT_OF_MEMORY = 2, XL_INTERNAL = 3 };
enum { XL_ACT_NONE = 0, XL_ACT_SILU = 1, XL_ACT_GELU = 2, XL_ACT_SIGMOID = 3, XL_ACT_TANH = 4, XL_ACT_RELU = 5,
    XL_ACT_EXP = 6, XL_ACT_SOFTPLUS = 7, XL_ACT_LOGSIGMOID = 8, XL_ACT_ELUPLUS1 = 9, XL_ACT_RELU2 = 10,
    XL_ACT_SINE = 11 };
enum { XL_GATE_EXPONENTIAL = 0, XL_GATE_SIGMOID = 1 };
enum { XL_DECAY_SCALAR = 0, XL_DECAY_VECTOR = 1, XL_DECAY_CONSTANT_SCALAR = 2, XL_DECAY_CONSTANT_VECTOR = 3 };
enum { XL_BF16 = 0, XL_F16 = 1, XL_INT8 = 2, XL_INT4 = 3 };

/* Activations: float32; in the sisters xl_NAME_bf16 that the CUDA library has of these kernels, bfloat16. */
typedef float xl_data;

/* ---- the library ------------------------------------------------------------------------------------------------ */

/* The sentence of the last error of this thread; valid until its next call. */
XL_API const char *xl_last_error(void);
/* A hash of the prototypes in this file: the library and the TypeScript that loads it must agree. */
XL_API int xl_abi_version(void);
/* The instruction set in use: "x86-64-v4", "x86-64-v3", "x86-64" or "arm64". */
XL_API const char *xl_isa(void);
/* Chooses an instruction set by name, or the best that the machine has with "auto". Not while a kernel runs. */
XL_API int xl_set_isa(const char *name);
/* Threads of the pool, the caller included; 0 takes one per core. Results do not depend on it. */
XL_API int xl_set_threads(int32_t threads);
XL_API int32_t xl_get_threads(void);
/*
 * What the machine can do at most with the instruction set in use and this many threads (0: all of the pool):
 * flops_and_bandwidth[0] receives float32 operations per second of multiply-adds that stay in registers (one counts as
 * two), the best of all stretches of some 10 us; flops_and_bandwidth[1] bytes per second of reading a memory far larger
 * than the caches (256 MB to 1 GB), a thread's share again and again. Each takes half of `seconds`; threads are summed.
 */
XL_API int xl_measure_peak(double *flops_and_bandwidth, int32_t threads, double seconds);

/* ---- memory ----------------------------------------------------------------------------------------------------- */

/* 64-byte aligned memory, kept in a pool by size: address[0] receives it (as a double). Contents are unspecified. */
XL_API int xl_alloc(double *address, int64_t bytes);
XL_API int xl_free(uintptr_t address, int64_t bytes);
/* Gives memory that the pool keeps for reuse back to the system. */
XL_API int xl_trim(void);
XL_API int xl_write(uintptr_t destination, const void *source, int64_t bytes);
XL_API int xl_read(void *destination, uintptr_t source, int64_t bytes);
/* Maps a file read-only: address[0] receives its address, address[1] its size in bytes (as doubles). */
XL_API int xl_map_file(double *address_and_size, const char *path);
XL_API int xl_unmap_file(uintptr_t address, int64_t bytes);

/* ---- kernels recorded and run again ----------------------------------------------------------------------------- */

/*
 * Between begin and end kernels are recorded, not run; graph[0] receives the handle. Memory allocated or freed between
 * stays the graph's own until it is destroyed. No xl_read while recording; what is written is written again by each
 * launch, which CUDA graphs cannot.
 */
XL_API int xl_capture_begin(void);
XL_API int xl_capture_end(double *graph);
XL_API int xl_graph_launch(uintptr_t graph);
XL_API int xl_graph_destroy(uintptr_t graph);
/*
 * Between begin and end, or until the next xl_read, kernels and writes are collected; then they run, one after the other.
 * A collection within another, or within a recording, is part of it. A thread collects what it calls itself.
 */
XL_API int xl_collect_begin(void);
XL_API int xl_collect_end(void);

/* ---- memory and elementwise ------------------------------------------------------------------------------------- */

XL_API int xl_fill(xl_data *y, float value, int64_t N);
XL_API int xl_copy(xl_data *y, const xl_data *x, int64_t N);
XL_API int xl_accumulate(xl_data *y, const xl_data *x, float alpha, int64_t N);
XL_API int xl_add(xl_data *y, const xl_data *a, const xl_data *b, int64_t N);
XL_API int xl_mul_forward(xl_data *y, const xl_data *a, const xl_data *b, int64_t N);
XL_API int xl_mul_backward(xl_data *da, xl_data *db, const xl_data *dy, const xl_data *a, const xl_data *b, int64_t N);
XL_API int xl_activation_forward(xl_data *y, const xl_data *x, int64_t N, int32_t activation);
XL_API int xl_activation_backward(xl_data *dx, const xl_data *dy, const xl_data *x, int64_t N, int32_t activation);
XL_API int xl_gated_activation_forward(xl_data *y, const xl_data *gate, const xl_data *up, int64_t N, int32_t activation);
XL_API int xl_gated_activation_backward(xl_data *dgate, xl_data *dup, const xl_data *dy, const xl_data *gate, const xl_data *up,
    int64_t N, int32_t activation);
XL_API int xl_skip_gate_forward(xl_data *y /* [N,D] */, const xl_data *h, const xl_data *c, const float *skip /* [D] */,
    const xl_data *z, int64_t N, int64_t D);
XL_API int xl_skip_gate_backward(xl_data *dh, xl_data *dc, float *dskip, xl_data *dz, const xl_data *dy, const xl_data *h,
    const xl_data *c, const float *skip, const xl_data *z, int64_t N, int64_t D);
XL_API int xl_soft_cap_forward(xl_data *y, const xl_data *x, int64_t N, float cap);
XL_API int xl_soft_cap_backward(xl_data *dx, const xl_data *dy, const xl_data *y, int64_t N, float cap);
XL_API int xl_dropout_forward(xl_data *y, const xl_data *x, int64_t N, double rate, uint32_t key0, uint32_t key1);
XL_API int xl_dropout_backward(xl_data *dx, const xl_data *dy, int64_t N, double rate, uint32_t key0, uint32_t key1);
XL_API int xl_sum_forward(float *y /* [1] */, const xl_data *x, int64_t N, float scale);
XL_API int xl_sum_backward(xl_data *dx, const float *dy /* [1] */, int64_t N, float scale);

/* ---- linear algebra --------------------------------------------------------------------------------------------- */

XL_API int xl_matmul(xl_data *c, const xl_data *a, const xl_data *b, const float *bias, int64_t M, int64_t N, int64_t K,
    int32_t trans_a, int32_t trans_b, int64_t lda, int64_t ldb, int64_t ldc, int32_t accumulate, int32_t activation);
XL_API int xl_bias_backward(float *dbias, const xl_data *dy, int64_t N, int64_t D);
XL_API int xl_headwise_linear_forward(xl_data *y /* [N,G,O] */, const xl_data *x /* [N,G,I] */,
    const float *weight /* [G,O,I] */, const float *bias /* [G,O] */, int64_t N, int64_t G, int64_t O, int64_t I);
XL_API int xl_headwise_linear_backward(xl_data *dx, float *dweight, float *dbias, const xl_data *dy, const xl_data *x,
    const float *weight, int64_t N, int64_t G, int64_t O, int64_t I);

/* ---- matrices in storage formats; the layout of a row is in src/device/packing.ts -------------------------------- */

XL_API int xl_pack_rows(uint8_t *packed /* [R,rowBytes] */, const float *x /* [R,C] */, int64_t R, int64_t C,
    int32_t format, int64_t group);
XL_API int xl_unpack_rows(xl_data *y /* [R,C] */, const uint8_t *packed /* [R,rowBytes] */, int64_t R, int64_t C,
    int32_t format, int64_t group);
XL_API int xl_linear_packed(xl_data *y /* [N,O] */, const xl_data *x /* [N,I] */, const uint8_t *weight /* [O,rowBytes] */,
    const float *bias /* [O] */, int64_t N, int64_t O, int64_t I, int32_t format, int64_t group);
XL_API int xl_embedding_packed(xl_data *y /* [N,D] */, const int32_t *tokens /* [N] */,
    const uint8_t *table /* [V,rowBytes] */, int64_t N, int64_t D, int64_t V, int32_t format, int64_t group);

/* ---- norms ------------------------------------------------------------------------------------------------------ */

XL_API int xl_layernorm_forward(xl_data *y /* [N,G,D] */, float *mean /* [N,G] */, float *rstd /* [N,G] */,
    const xl_data *x, const float *weight /* [G,D] */, const float *bias /* [G,D] */, int64_t N, int64_t G, int64_t D,
    float eps, float weight_offset);
XL_API int xl_layernorm_backward(xl_data *dx, float *dweight, float *dbias, const xl_data *dy, const xl_data *x,
    const float *weight, const float *mean, const float *rstd, int64_t N, int64_t G, int64_t D, float weight_offset);
XL_API int xl_rmsnorm_forward(xl_data *y, float *rstd, const xl_data *x, const float *weight, int64_t N, int64_t G,
    int64_t D, float eps, float weight_offset);
XL_API int xl_rmsnorm_backward(xl_data *dx, float *dweight, const xl_data *dy, const xl_data *x, const float *weight,
    const float *rstd, int64_t N, int64_t G, int64_t D, float weight_offset);

/* ---- sequence kernels, fused over time -------------------------------------------------------------------------- */

XL_API int xl_conv1d_forward(xl_data *y /* [B,T,D] */, float *state_out /* [B,K-1,D] */, const xl_data *x,
    const float *weight /* [D,K] */, const float *bias /* [D] */, const float *state_in /* [B,K-1,D] */,
    const uint8_t *reset /* [B,T] */, int64_t B, int64_t T, int64_t D, int64_t K, int32_t activation);
XL_API int xl_conv1d_backward(xl_data *dx, float *dweight, float *dbias, float *dstate_in, const xl_data *dy,
    const float *dstate_out, const xl_data *x, const float *weight, const float *bias, const float *state_in,
    const uint8_t *reset, int64_t B, int64_t T, int64_t D, int64_t K, int32_t activation);

XL_API int xl_long_conv_forward(float *y /* [B,T,D] */, const float *x, const float *kernel /* [K,D] */,
    const float *skip /* [D] */, const uint8_t *reset /* [B,T] */, int64_t B, int64_t T, int64_t D, int64_t K,
    int32_t reversed);
XL_API int xl_long_conv_backward(float *dx, float *dkernel, float *dskip, const float *dy, const float *x,
    const float *kernel, const float *skip, const uint8_t *reset, int64_t B, int64_t T, int64_t D, int64_t K,
    int32_t reversed);

XL_API int xl_ssm_discretize_forward(float *c /* [2,N,D] */, float *z, const float *A, const float *C,
    const float *log_dt /* [D] */, int64_t N, int64_t D, int32_t real_part, int64_t L, float scale);
XL_API int xl_ssm_discretize_backward(float *dA, float *dC, float *dlog_dt, const float *dc, const float *dz,
    const float *A, const float *C, const float *log_dt, int64_t N, int64_t D, int32_t real_part, int64_t L,
    float scale);
XL_API int xl_ssm_kernel_forward(float *kernel /* [L,D] */, const float *c /* [2,N,D] */, const float *z, int64_t L,
    int64_t N, int64_t D, int32_t anchored);
XL_API int xl_ssm_kernel_backward(float *dc, float *dz, const float *dkernel, const float *c, const float *z, int64_t L,
    int64_t N, int64_t D, int32_t anchored);
XL_API int xl_diagonal_scan_forward(float *y /* [B,T,D] */, float *state_out /* [B,2,N,D] */, const float *x,
    const float *c /* [2,N,D] */, const float *z, const float *skip /* [D] */, const float *state_in,
    const uint8_t *reset /* [B,T] */, int64_t B, int64_t T, int64_t N, int64_t D);
XL_API int xl_diagonal_scan_backward(float *dx, float *dc, float *dz, float *dskip, float *dstate_in, const float *dy,
    const float *dstate_out, const float *x, const float *c, const float *z, const float *skip, const float *state_in,
    const uint8_t *reset, int64_t B, int64_t T, int64_t N, int64_t D);

XL_API int xl_s4_scan_forward(float *y /* [B,T,D] */, float *state_out /* [B,2,N,D] */, const float *x,
    const float *A /* [2,N,D] */, const float *P, const float *Bm, const float *C, const float *log_dt /* [D] */,
    const float *skip /* [D] */, const float *state_in, const uint8_t *reset /* [B,T] */, int64_t B, int64_t T,
    int64_t N, int64_t D);
XL_API int xl_s4_scan_backward(float *dx, float *dA, float *dP, float *dBm, float *dC, float *dlog_dt, float *dskip,
    float *dstate_in, const float *dy, const float *dstate_out, const float *x, const float *A, const float *P,
    const float *Bm, const float *C, const float *log_dt, const float *skip, const float *state_in,
    const uint8_t *reset, int64_t B, int64_t T, int64_t N, int64_t D);

XL_API int xl_slstm_forward(xl_data *h /* [B,T,NH,DH] */, float *state_out /* [4,B,NH,DH] */, float *saved,
    const xl_data *i, const xl_data *f, const xl_data *z, const xl_data *o, const float *recurrent /* [NH,4,DH,DH] */,
    const float *bias /* [4,NH,DH] */, const float *state_in /* [4,B,NH,DH] */, const uint8_t *reset /* [B,T] */,
    int64_t B, int64_t T, int64_t NH, int64_t DH);
XL_API int xl_slstm_backward(xl_data *di, xl_data *df, xl_data *dz, xl_data *do_, float *drecurrent, float *dbias,
    float *dstate_in, const xl_data *dh, const float *dstate_out, const xl_data *h, const float *saved,
    const float *recurrent, const float *state_in, const uint8_t *reset, int64_t B, int64_t T, int64_t NH, int64_t DH);

XL_API int xl_lstm_forward(xl_data *h /* [B,T,NH,DH] */, float *state_out /* [2,B,NH,DH] */, float *saved,
    const xl_data *i, const xl_data *f, const xl_data *z, const xl_data *o, const float *recurrent /* [NH,4,DH,DH] */,
    const float *bias /* [4,NH,DH] */, const float *state_in /* [2,B,NH,DH] */, const uint8_t *reset /* [B,T] */,
    int64_t B, int64_t T, int64_t NH, int64_t DH);
XL_API int xl_lstm_backward(xl_data *di, xl_data *df, xl_data *dz, xl_data *do_, float *drecurrent, float *dbias,
    float *dstate_in, const xl_data *dh, const float *dstate_out, const xl_data *h, const float *saved,
    const float *recurrent, const float *state_in, const uint8_t *reset, int64_t B, int64_t T, int64_t NH, int64_t DH);

XL_API int xl_mlstm_forward(xl_data *h /* [B,T,NH,DV] */, float *m /* [B,T,NH] */, float *denominator /* [B,T,NH] */,
    float *Cout /* [B,NH,DK,DV] */, float *nout /* [B,NH,DK] */, float *mout /* [B,NH] */,
    const xl_data *q /* [B,T,NH,DK] */, const xl_data *k, const xl_data *v /* [B,T,NH,DV] */, const float *i /* [B,T,NH] */,
    const float *f, const float *Cin, const float *nin, const float *min, const uint8_t *reset /* [B,T] */,
    int64_t B, int64_t T, int64_t NH, int64_t DK, int64_t DV, int64_t L, float eps, int32_t input_gate, int32_t normalize);
XL_API int xl_mlstm_backward(xl_data *dq, xl_data *dk, xl_data *dv, float *di, float *df, float *dCin, float *dnin,
    float *dmin, const xl_data *dh, const float *dCout, const float *dnout, const float *dmout, const xl_data *q,
    const xl_data *k, const xl_data *v, const float *i, const float *f, const float *Cin, const float *nin,
    const float *min, const uint8_t *reset, const xl_data *h, const float *m, const float *denominator,
    int64_t B, int64_t T, int64_t NH, int64_t DK, int64_t DV, int64_t L, float eps, int32_t input_gate, int32_t normalize);
XL_API int xl_mlstm_step(xl_data *h /* [B,NH,DV] */, float *Cout, float *nout, float *mout, const xl_data *q,
    const xl_data *k, const xl_data *v, const float *i, const float *f, const float *Cin, const float *nin,
    const float *min, int64_t B, int64_t NH, int64_t DK, int64_t DV, float eps, int32_t input_gate, int32_t normalize);

XL_API int xl_selective_scan_forward(float *y /* [B,T,D] */, float *state_out /* [B,D,N] */, float *saved,
    const float *u, const float *delta, const float *A /* [D,N] */, const float *Bm /* [B,T,N] */,
    const float *C /* [B,T,N] */, const float *skip /* [D] */, const float *state_in /* [B,D,N] */,
    const uint8_t *reset /* [B,T] */, int64_t B, int64_t T, int64_t D, int64_t N);
XL_API int xl_selective_scan_backward(float *du, float *ddelta, float *dA, float *dBm, float *dC, float *dskip,
    float *dstate_in, const float *dy, const float *dstate_out, const float *saved, const float *u, const float *delta,
    const float *A, const float *Bm, const float *C, const float *skip, const float *state_in, const uint8_t *reset,
    int64_t B, int64_t T, int64_t D, int64_t N);

XL_API int xl_wkv_forward(float *y /* [B,T,D] */, float *state_out /* [3,B,D] */, float *saved, const float *k,
    const float *v, const float *w /* [D] */, const float *u /* [D] */, const float *state_in /* [3,B,D] */,
    const uint8_t *reset /* [B,T] */, int64_t B, int64_t T, int64_t D);
XL_API int xl_wkv_backward(float *dk, float *dv, float *dw, float *du, float *dstate_in, const float *dy,
    const float *dstate_out, const float *saved, const float *k, const float *v, const float *w, const float *u,
    const float *state_in, const uint8_t *reset, int64_t B, int64_t T, int64_t D);

XL_API int xl_scan_forward(xl_data *h /* [B,T,D] */, float *state_out /* [B,D] */, const xl_data *a, const xl_data *x,
    const float *state_in /* [B,D] */, const uint8_t *reset /* [B,T] */, int64_t B, int64_t T, int64_t D);
XL_API int xl_scan_backward(xl_data *da, xl_data *dx, float *dstate_in, const xl_data *dh, const float *dstate_out,
    const xl_data *h, const xl_data *a, const float *state_in, const uint8_t *reset, int64_t B, int64_t T, int64_t D);

/* ---- softmax attention ------------------------------------------------------------------------------------------ */

XL_API int xl_positions(int32_t *y /* [B,T] */, float *position_out /* [B] */, const float *position_in /* [B] */,
    const uint8_t *reset /* [B,T] */, int64_t B, int64_t T);
XL_API int xl_rope_forward(xl_data *y /* [N,NH,DH] */, const xl_data *x, const int32_t *positions /* [N] */, int64_t N,
    int64_t NH, int64_t DH, double theta);
XL_API int xl_rope_backward(xl_data *dx /* [N,NH,DH] */, const xl_data *dy, const int32_t *positions /* [N] */, int64_t N,
    int64_t NH, int64_t DH, double theta);
XL_API int xl_attention_forward(float *y /* [B,T,NH,DV] */, float *lse /* [B,T,NH,2] */, const float *q /* [B,T,NH,DK] */,
    const float *k /* [B,T,NKV,DK] */, const float *v /* [B,T,NKV,DV] */, const float *bias /* [NH,Q,P] */,
    const float *k_cache /* [B,W,NKV,DK] */, const float *v_cache /* [B,W,NKV,DV] */, const int32_t *positions /* [B,T] */,
    int64_t B, int64_t T, int64_t NH, int64_t NKV, int64_t DK, int64_t DV, int64_t W, int64_t Q, int64_t P,
    double scale, int32_t causal);
XL_API int xl_attention_backward(float *dq, float *dk, float *dv, float *dbias, float *dk_cache, float *dv_cache,
    const float *dy, const float *y, const float *lse /* [B,T,NH,2] */, const float *q, const float *k, const float *v,
    const float *bias /* [NH,Q,P] */, const float *k_cache /* [B,W,NKV,DK] */, const float *v_cache /* [B,W,NKV,DV] */,
    const int32_t *positions /* [B,T] */, int64_t B, int64_t T, int64_t NH, int64_t NKV, int64_t DK, int64_t DV,
    int64_t W, int64_t Q, int64_t P, double scale, int32_t causal);
XL_API int xl_attention_cache(xl_data *k_out /* [B,W,R] */, const xl_data *k_in /* [B,W,R] */, const xl_data *k /* [B,T,R] */,
    const int32_t *positions /* [B,T] */, int64_t B, int64_t T, int64_t W, int64_t R);
XL_API int xl_attention_cache_backward(xl_data *dk /* [B,T,R] */, xl_data *dk_in /* [B,W,R] */,
    const xl_data *dk_out /* [B,W,R] */, const int32_t *positions /* [B,T] */, int64_t B, int64_t T, int64_t W, int64_t R);

XL_API int xl_delta_rule_forward(float *o /* [B,T,NH,DV] */, float *state_out /* [B,NH,DK,DV] */,
    const float *q /* [B,T,NH,DK] */, const float *k, const float *v /* [B,T,NH,DV] */, const float *beta /* [B,T,NH] */,
    const float *g /* [B,T,NH] */, const float *state_in, const uint8_t *reset /* [B,T] */, int64_t B, int64_t T,
    int64_t NH, int64_t DK, int64_t DV, int64_t L, float scale);
XL_API int xl_delta_rule_backward(float *dq, float *dk, float *dv, float *dbeta, float *dg, float *dstate_in,
    const float *do_, const float *dstate_out, const float *q, const float *k, const float *v, const float *beta,
    const float *g, const float *state_in, const uint8_t *reset, int64_t B, int64_t T, int64_t NH, int64_t DK,
    int64_t DV, int64_t L, float scale);

XL_API int xl_linear_attention_forward(float *o /* [B,T,NH,DV] */, float *Sout /* [B,NH,DK,DV] */,
    float *zout /* [B,NH,DK] */, float *denominator /* [B,T,NH] */, const float *q /* [B,T,NG,DK] */,
    const float *k /* [B,T,NG,DK] */, const float *v /* [B,T,NH,DV] */, const float *log_decay,
    const float *u /* [NH,DK] */, const float *Sin, const float *zin, const uint8_t *reset /* [B,T] */, int64_t B,
    int64_t T, int64_t NH, int64_t NG, int64_t DK, int64_t DV, int64_t L, float scale, float eps, int32_t decay,
    int32_t normalize, int32_t causal);
XL_API int xl_linear_attention_backward(float *dq, float *dk, float *dv, float *dlog_decay, float *du, float *dSin,
    float *dzin, const float *do_, const float *dSout, const float *dzout, const float *q, const float *k,
    const float *v, const float *log_decay, const float *u, const float *Sin, const float *zin, const uint8_t *reset,
    const float *o, const float *denominator, int64_t B, int64_t T, int64_t NH, int64_t NG, int64_t DK, int64_t DV,
    int64_t L, float scale, float eps, int32_t decay, int32_t normalize, int32_t causal);
XL_API int xl_linformer_forward(float *y /* [B,T,NH,DV] */, const float *q /* [B,T,NH,DK] */, const float *k,
    const float *v /* [B,T,NH,DV] */, const float *E /* [P,R] */, const int32_t *positions /* [B,T] */, int64_t B,
    int64_t T, int64_t NH, int64_t DK, int64_t DV, int64_t P, int64_t R, double scale);
XL_API int xl_linformer_backward(float *dq, float *dk, float *dv, float *dE, const float *dy, const float *q,
    const float *k, const float *v, const float *E /* [P,R] */, const int32_t *positions /* [B,T] */, int64_t B,
    int64_t T, int64_t NH, int64_t DK, int64_t DV, int64_t P, int64_t R, double scale);

XL_API int xl_dplr_forward(float *o /* [B,T,NH,DV] */, float *state_out /* [B,NH,DK,DV] */, const float *q /* [B,T,NH,DK] */,
    const float *k, const float *v /* [B,T,NH,DV] */, const float *a /* [B,T,NH,DK] */, const float *b, const float *g,
    const float *state_in, const uint8_t *reset /* [B,T] */, int64_t B, int64_t T, int64_t NH, int64_t DK, int64_t DV);
XL_API int xl_dplr_backward(float *dq, float *dk, float *dv, float *da, float *db, float *dg, float *dstate_in,
    const float *do_, const float *dstate_out, const float *q, const float *k, const float *v, const float *a,
    const float *b, const float *g, const float *state_in, const uint8_t *reset, int64_t B, int64_t T, int64_t NH,
    int64_t DK, int64_t DV);

/* ---- language model --------------------------------------------------------------------------------------------- */

XL_API int xl_embedding_forward(xl_data *y /* [N,D] */, const int32_t *tokens /* [N] */, const float *table /* [V,D] */,
    int64_t N, int64_t D, int64_t V);
XL_API int xl_embedding_backward(float *dtable, const xl_data *dy, const int32_t *tokens, int64_t N, int64_t D, int64_t V);
XL_API int xl_linear_cross_entropy_forward(float *loss /* [N] */, float *logsumexp /* [N] */, const xl_data *x /* [N,D] */,
    const xl_data *weight /* [V,D] */, const int32_t *targets /* [N] */, int64_t N, int64_t D, int64_t V, float soft_cap);
XL_API int xl_linear_cross_entropy_backward(xl_data *dx, float *dweight, const float *dloss /* [N] */, const xl_data *x,
    const xl_data *weight, const int32_t *targets, const float *logsumexp, int64_t N, int64_t D, int64_t V,
    float soft_cap);
XL_API int xl_linear_cross_entropy_forward_backward(xl_data *dx /* [N,D] */, float *dweight /* [V,D] */,
    float *loss /* [N] */, const float *dloss /* [N] */, const xl_data *x, const xl_data *weight,
    const int32_t *targets, int64_t N, int64_t D, int64_t V, float soft_cap);

/* ---- optimizer -------------------------------------------------------------------------------------------------- */

XL_API int xl_sum_of_squares(float *y /* [1] */, const float *x, int64_t N);
XL_API int xl_adamw(float *parameter, float *m, float *v, const float *gradient, int64_t N, double grad_scale,
    double lr, double beta1, double beta2, double eps, double weight_decay, double correction1, double correction2);

#ifdef __cplusplus
}
#endif
#endif
