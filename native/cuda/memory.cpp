// Device memory: a pool of blocks by size over cudaMalloc, the workspace of kernels, and copies from and to the host.
//
// Everything runs on one stream, so a freed block may be handed out at once: what was enqueued before reads it before.
// A graph replays the addresses that it was recorded with. So blocks allocated or freed while it is recorded belong to
// it: they are reused within the recording and go back to the pool when the graph is destroyed.
#include <map>
#include <unordered_map>
#include <vector>

#include "device.h"
#include "kernel.cuh"
#include "xl_cuda.h"

namespace xl {
namespace {

using Blocks = std::map<int64_t, std::vector<void *>>;  // by size

struct Block {
  int64_t bytes;
  int graph;  // whose it is, 0 for nobody's
  bool is_free;
};

std::unordered_map<void *, Block> blocks;
Blocks pool, recorded;  // free blocks: of nobody, and of the graph that is being recorded
int64_t used = 0, cached = 0, workspace_bytes = 0;
void *workspace = nullptr;
bool poisons_workspace = false;

// Eight sizes per doubling, so that at most an eighth is wasted.
int64_t size_class(int64_t bytes) {
  int64_t step = 512;
  while (bytes > 8 * step) step *= 2;
  return round_up(bytes > 0 ? bytes : 1, step);
}

void *take(Blocks &from, int64_t bytes) {
  const auto found = from.find(bytes);
  if (found == from.end() || found->second.empty()) return nullptr;
  void *address = found->second.back();
  found->second.pop_back();
  return address;
}

void give_back_cached() {
  cudaStreamSynchronize(stream());
  for (auto &[bytes, list] : pool)
    for (void *address : list) {
      cudaFree(address);
      blocks.erase(address);
    }
  pool.clear();
  cached = 0;
}

void *out_of_memory(const char *what, int64_t bytes) {
  size_t free = 0, total = 0;
  cudaMemGetInfo(&free, &total);
  constexpr double mib = 1 << 20;
  fail(XL_OUT_OF_MEMORY,
       "%s: no memory for %.1f MiB on %s: of its %.0f MiB, %.0f MiB are held here (workspace %.0f MiB), %.0f MiB are "
       "free; take a smaller batch or free something",
       what, double(bytes) / mib, device().properties.name, double(total) / mib, double(used) / mib,
       double(workspace_bytes) / mib, double(free) / mib);
  return nullptr;
}

}  // namespace

void *pool_alloc(const char *what, int64_t bytes) {
  const int64_t size = size_class(bytes);
  const int graph = recorded_graph();
  void *address = graph ? take(recorded, size) : nullptr;
  if (!address && (address = take(pool, size))) cached -= size;
  if (!address) {
    cudaError_t error = cudaMalloc(&address, size_t(size));
    // The pool cannot be emptied while a graph is recorded.
    if (error == cudaErrorMemoryAllocation && !graph) {
      cudaGetLastError();
      give_back_cached();
      error = cudaMalloc(&address, size_t(size));
    }
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      return out_of_memory(what, bytes);
    }
    if (check(what, error)) return nullptr;  // what an earlier kernel left
  }
  blocks[address] = {size, graph, false};
  used += size;
  return address;
}

void pool_free(void *address) {
  const auto found = blocks.find(address);
  if (found == blocks.end() || found->second.is_free) return;
  Block &block = found->second;
  block.is_free = true;
  used -= block.bytes;
  const int graph = recorded_graph();
  if (graph && block.graph == 0) block.graph = graph;
  if (block.graph == 0) {
    pool[block.bytes].push_back(address);
    cached += block.bytes;
  } else if (block.graph == graph) {
    recorded[block.bytes].push_back(address);
  }
}

void release_graph_memory(int graph) {
  for (auto &[address, block] : blocks) {
    if (block.graph != graph) continue;
    block.graph = 0;
    if (!block.is_free) continue;
    pool[block.bytes].push_back(address);
    cached += block.bytes;
  }
}

// The free blocks of the recording stay its own; another recording has none yet.
void end_recording() { recorded.clear(); }

namespace {
void *poisoned(void *address, int64_t bytes) {
  if (poisons_workspace) cudaMemsetAsync(address, 0xff, size_t(bytes), stream());
  return address;
}
}  // namespace

void *scratch(int64_t bytes) {
  if (need_device("scratch")) return nullptr;
  if (bytes <= workspace_bytes && workspace) return poisoned(workspace, bytes);
  void *larger = pool_alloc("workspace", bytes);
  if (!larger) return nullptr;
  // A graph may hold the smaller one: then the pool keeps it for good.
  static std::vector<void *> retired;
  if (workspace) retired.push_back(workspace);
  const bool has_graphs = recorded_graph() != 0 || graphs_alive() != 0;
  if (!has_graphs) {
    for (void *old : retired) pool_free(old);
    retired.clear();
  }
  blocks[larger].graph = 0;
  workspace = larger;
  workspace_bytes = size_class(bytes);
  return poisoned(workspace, bytes);
}

}  // namespace xl

using namespace xl;

extern "C" {

int xl_poison_workspace(int32_t is_on) {
  poisons_workspace = is_on != 0;
  return XL_OK;
}

int xl_alloc(double *address, int64_t bytes) {
  if (int status = need_device("alloc")) return status;
  if (bytes < 0) return fail(XL_INVALID, "alloc: %lld bytes", (long long)bytes);
  void *made = pool_alloc("alloc", bytes);
  if (!made) return XL_OUT_OF_MEMORY;
  address[0] = double(reinterpret_cast<uintptr_t>(made));
  return XL_OK;
}

int xl_free(uintptr_t address, int64_t) {
  if (int status = need_device("free")) return status;
  pool_free(reinterpret_cast<void *>(address));
  return XL_OK;
}

int xl_trim(void) {
  if (int status = need_device("trim")) return status;
  if (recorded_graph()) return fail(XL_INVALID, "trim: a graph is being recorded");
  give_back_cached();
  return XL_OK;
}

int xl_write(uintptr_t destination, const void *source, int64_t bytes) {
  if (int status = need_device("write")) return status;
  if (recorded_graph()) return fail(XL_INVALID, "write: a graph is being recorded; write before or after");
  if (bytes == 0) return XL_OK;
  // From pageable memory it returns once the source has been read.
  return check("write", cudaMemcpyAsync(reinterpret_cast<void *>(destination), source, size_t(bytes),
                                        cudaMemcpyHostToDevice, stream()));
}

int xl_read(void *destination, uintptr_t source, int64_t bytes) {
  if (int status = need_device("read")) return status;
  if (recorded_graph()) return fail(XL_INVALID, "read: a graph is being recorded; read after");
  if (bytes > 0)
    if (int status = check("read", cudaMemcpyAsync(destination, reinterpret_cast<void *>(source), size_t(bytes),
                                                   cudaMemcpyDeviceToHost, stream())))
      return status;
  return report_fault();
}

int xl_memory_info(double *info) {
  int64_t held = 0;
  for (const auto &[address, block] : blocks)
    if (block.graph != 0) held += block.bytes;
  info[0] = double(used - workspace_bytes);
  info[1] = double(cached);
  info[2] = double(workspace_bytes);
  info[3] = double(held);
  return XL_OK;
}

}  // extern "C"
