// sLSTM and LSTM over a sequence in bf16 by clusters of blocks (compute capability 9.0 and up): the forward walk.
//
// A cluster takes one head of a tile of 8 sequences through all steps. Each of its KB blocks owns 32 units: four
// warps of 8 units, whose four gates are the 32 rows of two fragments of the tensor cores. The matrix stays in
// registers for the whole sequence (DH 256: 128 of each thread), so that a step is
//   wait for h -> 4 KB products of 16 x 8 x 16 per warp -> pointwise, where a thread has all gates of its unit for
//   two sequences -> h in bf16 into the shared memory of all blocks of the cluster.
// The stores of h carry their own announcement: each block has a barrier that counts the bytes of the next h, one per
// buffer of two. There is no other barrier in a step. A block overwrites a buffer only after it saw h of the step
// between, which nobody sends before having read that buffer.
//
// Floor: B16 T1024, 4 heads of 256: 34 GFLOP on 64 multiprocessors, 0.1 ms; bytes 0.2 ms. What costs is the chain of a
// step. Measured on an H100: 0.66 us a step, of which products 0.15, pointwise 0.2, exchange 0.3; a warp's 128 bytes in
// one piece matter most (16 bytes here and there: 1.0 us). Two blocks share a multiprocessor when there are many.
#ifndef XL_CUDA_RECURRENT_CLUSTER_CUH
#define XL_CUDA_RECURRENT_CLUSTER_CUH
#include "recurrent_ptx.cuh"

namespace xl {

constexpr int CLUSTER_UNITS = 32, CLUSTER_THREADS = 128;

constexpr int CLUSTER_TILE = 8;

template <int KB>
struct ForwardMemory {
  static constexpr int STAGES = 8;
  // [8 units][sequence][unit]: what a warp sends is one piece of 128 bytes.
  static constexpr unsigned h = KB * 4 * 128;                // bytes of a buffer
  static constexpr unsigned gates = 512, stage = 4 * gates;  // of one warp and of all, for a step
  static constexpr unsigned barriers = 2 * h, biases = barriers + 16, stages = biases + CLUSTER_UNITS * 16;
  static constexpr unsigned bytes = stages + STAGES * stage;
};

// Where h of eight units of a sequence lies: the 16 bytes of neighbouring groups then lie in different banks.
__device__ inline unsigned place_of_h(unsigned group, unsigned sequence) {
  return group * 128 + (sequence ^ group % 4 * 2) * 16;
}

template <class Cell, int KB>
__global__ void __launch_bounds__(CLUSTER_THREADS, 1) cluster_forward(RecurrentForward<bf16> a) {
#if __CUDA_ARCH__ >= 900
  using Memory = ForwardMemory<KB>;
  constexpr int STAGES = Memory::STAGES, TARGETS = (KB + 3) / 4;
  extern __shared__ float4 memory[];
  const RecurrentShape &s = a.s;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, q = lane % 4, T = int(s.T);
  const unsigned rank = cluster_rank(), base = shared_address(memory), barriers = base + Memory::barriers;
  const int64_t head = blockIdx.x / KB % s.NH, b0 = blockIdx.x / KB / s.NH * CLUSTER_TILE;
  const int64_t unit0 = rank * CLUSTER_UNITS + warp * 8, unit = unit0 + g, step = s.NH * s.DH;
  const bool active = unit0 < s.DH;

  // Rows: gates i f, then z o, of 8 units. Of 32 columns a thread has 8 in a row, so that h comes by 16 bytes.
  unsigned w[KB][2][2][4];
#pragma unroll
  for (int kb = 0; kb < KB; kb++)
#pragma unroll
    for (int gate = 0; gate < GATES; gate++) {
      float4 x[2] = {};
      const int64_t k = kb * 32 + 8 * q;
      if (active && k < s.DH) {
        const float *row = a.recurrent + ((head * GATES + gate) * s.DH + unit) * s.DH + k;
        x[0] = *reinterpret_cast<const float4 *>(row), x[1] = *reinterpret_cast<const float4 *>(row + 4);
      }
#pragma unroll
      for (int half = 0; half < 2; half++) {
        w[kb][half][gate / 2][gate % 2] = pack(x[half].x, x[half].y);
        w[kb][half][gate / 2][gate % 2 + 2] = pack(x[half].z, x[half].w);
      }
    }
  float *const biases = reinterpret_cast<float *>(reinterpret_cast<char *>(memory) + Memory::biases);  // [unit][gate]
  if (threadIdx.x < CLUSTER_UNITS) {
    const int64_t j = rank * CLUSTER_UNITS + threadIdx.x;
    for (int k = 0; k < GATES; k++)
      biases[threadIdx.x * GATES + k] = a.bias && j < s.DH ? a.bias[(k * s.NH + head) * s.DH + j] : 0;
  }
  float state[2][Cell::STATES], h[2];  // of sequences 2q and 2q + 1
  bool exists[2], reset[2];
  const uint8_t *reset_from = a.reset + (b0 + 2 * q) * s.T;
#pragma unroll
  for (int e = 0; e < 2; e++) {
    const int64_t b = b0 + 2 * q + e;
    exists[e] = active && b < s.B;
    reset[e] = a.reset && exists[e] && reset_from[e * s.T];
#pragma unroll
    for (int n = 0; n < Cell::STATES; n++)
      state[e][n] = a.state_in && exists[e] ? a.state_in[s.state_at(n, b, head) + unit] : Cell::initial(n);
  }
  float *saved_to = a.saved + s.saved_at(Cell::SAVED, b0 + 2 * q, 0, head, unit, 0);
  for (int e = threadIdx.x; e < CLUSTER_TILE * KB * 32; e += CLUSTER_THREADS) {
    const int row = e / (KB * 32), k = e % (KB * 32);
    const int64_t b = b0 + row;
    const bool known = a.state_in && b < s.B && k < s.DH;
    const float x = known ? a.state_in[s.state_at(Cell::STATES, b, head) + k] : 0;
    reinterpret_cast<bf16 *>(reinterpret_cast<char *>(memory) + place_of_h(k / 8, row))[k % 8] = __float2bfloat16_rn(x);
  }
  constexpr unsigned expected = CLUSTER_TILE * KB * 64;
  if (threadIdx.x == 0)
    for (int e = 0; e < 2; e++) {
      barrier_init(barriers + 8 * e);
      barrier_expect(barriers + 8 * e, expected);
    }
  __syncthreads();
  cluster_barrier();

  unsigned remote[TARGETS];
#pragma unroll
  for (int e = 0; e < TARGETS; e++) remote[e] = remote_address(base, min(q + 4 * e, KB - 1));
  const unsigned own_biases = base + Memory::biases + (warp * 8 + g) * 16;
  const unsigned sent = place_of_h(unsigned(unit0) / 8, g), read = place_of_h(q, g);

  // A lane fetches 8 units of one gate of one sequence.
  const bool fetches = active && b0 + lane % 8 < s.B;
  const bf16 *fetched = lane < 8 ? a.gates[0] : lane < 16 ? a.gates[1] : lane < 24 ? a.gates[2] : a.gates[3];
  if (fetches) fetched += s.at(b0 + lane % 8, 0, head) + unit0;
  const unsigned stages = base + Memory::stages + warp * Memory::gates + lane * 16;
  auto fetch = [&](int t) {
    const bool needed = fetches && t < T;
    copy_async(stages + unsigned(t % STAGES) * Memory::stage, fetched, needed);
    if (needed) fetched += step;
    copy_commit();
  };
  for (int t = 0; t < STAGES - 1; t++) fetch(t);
  const bool writes = q == 0 && active && b0 + g < s.B;  // h, 8 units of sequence g
  bf16 *h_to = a.h + s.at(b0 + g, 0, head) + unit0;

  for (int t = 0; t < T; t++) {
    const unsigned now = unsigned(t) & 1, next = now ^ 1;
    unsigned x[GATES];
    copy_wait<STAGES - 2>();
    __syncwarp();
    load_matrices_transposed(x, stages + unsigned(t % STAGES) * Memory::stage);
    fetch(t + STAGES - 1);
    const uint4 bias = load_shared(own_biases);
    const unsigned words[GATES] = {bias.x, bias.y, bias.z, bias.w};
    float acc[2][2][4] = {};
#pragma unroll
    for (int k = 0; k < GATES; k++) {
      acc[0][k / 2][k % 2 * 2] = low_half(x[k]) + __uint_as_float(words[k]);
      acc[0][k / 2][k % 2 * 2 + 1] = high_half(x[k]) + __uint_as_float(words[k]);
      settle(acc[0][k / 2][k % 2 * 2]), settle(acc[0][k / 2][k % 2 * 2 + 1]);
    }
    if (t > 0) {
      barrier_wait(barriers + 8 * now, unsigned(t - 1) >> 1 & 1);
      if (threadIdx.x == 0) barrier_expect(barriers + 8 * now, expected);
    }
    const unsigned row = base + now * Memory::h + read;
#pragma unroll
    for (int kb = 0; kb < KB; kb++) {
      const uint4 before = load_shared(row + kb * 512);
      multiply_add(acc[0][0], w[kb][0][0], before.x, before.y);
      multiply_add(acc[0][1], w[kb][0][1], before.x, before.y);
      multiply_add(acc[1][0], w[kb][1][0], before.z, before.w);
      multiply_add(acc[1][1], w[kb][1][1], before.z, before.w);
    }
    float gate[2][GATES], saved[2][Cell::SAVED];
#pragma unroll
    for (int e = 0; e < 2; e++)
#pragma unroll
      for (int k = 0; k < GATES; k++) gate[e][k] = acc[0][k / 2][k % 2 * 2 + e] + acc[1][k / 2][k % 2 * 2 + e];
    if (reset[0] || reset[1]) {
#pragma unroll
      for (int e = 0; e < 2; e++) {
        if (!reset[e]) continue;
#pragma unroll
        for (int k = 0; k < GATES; k++) gate[e][k] = (e ? high_half(x[k]) : low_half(x[k])) + __uint_as_float(words[k]);
#pragma unroll
        for (int n = 0; n < Cell::STATES; n++) state[e][n] = Cell::initial(n);
      }
    }
#pragma unroll
    for (int e = 0; e < 2; e++) h[e] = Cell::template forward<true>(gate[e], state[e], saved[e]);
    __syncwarp();
    // Now of sequence g: units 2q and 2q + 1, then all 8 units of the warp.
    const unsigned pair = transpose_matrix(pack(h[0], h[1]));
    uint4 units;
    units.x = __shfl_sync(~0u, pair, 0, 4), units.y = __shfl_sync(~0u, pair, 1, 4);
    units.z = __shfl_sync(~0u, pair, 2, 4), units.w = __shfl_sync(~0u, pair, 3, 4);
    if (t + 1 < T) {
#pragma unroll
      for (int e = 0; e < TARGETS; e++)
        if (q + 4 * e < KB)
          store_remote(remote[e] + next * Memory::h + sent, units, remote[e] + Memory::barriers + 8 * next);
    }
    if (writes) *reinterpret_cast<uint4 *>(h_to) = units;
    h_to += step;
    if (a.saved)
#pragma unroll
      for (int e = 0; e < 2; e++)
        if (exists[e])
#pragma unroll
          for (int n = 0; n < Cell::SAVED; n++) saved_to[e * s.T * step * Cell::SAVED + n * 8] = saved[e][n];
    saved_to += step * Cell::SAVED;
    if (a.reset) {
      reset_from++;
#pragma unroll
      for (int e = 0; e < 2; e++) reset[e] = t + 1 < T && exists[e] && reset_from[e * s.T];
    }
  }
  if (a.state_out)
#pragma unroll
    for (int e = 0; e < 2; e++) {
      if (!exists[e]) continue;
      const int64_t b = b0 + 2 * q + e;
#pragma unroll
      for (int n = 0; n < Cell::STATES; n++) a.state_out[s.state_at(n, b, head) + unit] = state[e][n];
      a.state_out[s.state_at(Cell::STATES, b, head) + unit] = h[e];
    }
  copy_wait<0>();
  __syncthreads();
  cluster_barrier();
#endif
}

// A kernel of clusters of KB blocks, with its shared memory allowed.
template <class Kernel, class Arguments>
int launch_cluster(const char *name, Kernel kernel, const Arguments &arguments, int KB, int64_t clusters,
                   unsigned bytes) {
  if (cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)) != cudaSuccess)
    return launched(name);
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = unsigned(KB), attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(unsigned(clusters * KB));
  config.blockDim = dim3(CLUSTER_THREADS);
  config.dynamicSmemBytes = bytes;
  config.stream = stream();
  config.attrs = &attribute;
  config.numAttrs = 1;
  cudaLaunchKernelEx(&config, kernel, arguments);
  return launched(name);
}

}  // namespace xl
#endif
