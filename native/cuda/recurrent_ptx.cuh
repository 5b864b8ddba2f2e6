// The instructions behind the recurrent kernels: matrices for tensor cores, asynchronous copies, and stores into the shared
// memory of the other blocks of a cluster that announce themselves at a barrier there.
#ifndef XL_CUDA_RECURRENT_PTX_CUH
#define XL_CUDA_RECURRENT_PTX_CUH
#include "ptx.cuh"
#include "recurrent_cell.cuh"

namespace xl {

// 8 x 8 values of 16 bits from rows at the addresses of lanes 8 e to 8 e + 7: lane 4 g + q gets rows 2q and 2q + 1 of
// column g.
__device__ inline void load_matrices_transposed(unsigned (&x)[4], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(address)
               : "memory");
}
__device__ inline unsigned load_matrix_transposed(unsigned address) {
  unsigned x;
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];" : "=r"(x) : "r"(address) : "memory");
  return x;
}
// Lane 4 g + q gives row g, columns 2q and 2q + 1; it gets column g, rows 2q and 2q + 1.
__device__ inline unsigned transpose_matrix(unsigned x) {
  unsigned y;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
  return y;
}

// 16 bytes into shared memory; zeros where there is nothing to copy.
__device__ inline void copy_async(unsigned to, const void *from, bool exists) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(exists ? 16 : 0) : "memory");
}
__device__ inline void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int PENDING>
__device__ inline void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

__device__ inline uint4 load_shared(unsigned address) {
  uint4 x;
  asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
               : "r"(address)
               : "memory");
  return x;
}

#if __CUDA_ARCH__ >= 900 || !defined(__CUDA_ARCH__)
__device__ inline void barrier_init(unsigned barrier) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;\nfence.mbarrier_init.release.cluster;" ::"r"(barrier)
               : "memory");
}
// This phase is complete once so many bytes have come.
__device__ inline void barrier_expect(unsigned barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
__device__ inline void barrier_wait(unsigned barrier, unsigned parity) {
  unsigned done;
  do {
    asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                 : "=r"(done)
                 : "r"(barrier), "r"(parity)
                 : "memory");
  } while (!done);
  __syncwarp();
}
// Stores into another block that count at a barrier of that block.
__device__ inline void store_remote(unsigned to, uint4 x, unsigned barrier) {
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1,%2,%3,%4}, [%5];" ::"r"(to),
               "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w), "r"(barrier)
               : "memory");
}
__device__ inline void store_remote(unsigned to, float x, float y, unsigned barrier) {
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%1,%2}, [%3];" ::"r"(to),
               "f"(x), "f"(y), "r"(barrier)
               : "memory");
}
#endif

}  // namespace xl
#endif
