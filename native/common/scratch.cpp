// Working memory of kernels: one growing block per (worker, slot).
#include "scratch.h"

#include "system_memory.h"

namespace xl {
namespace {

struct Block {
  float *data = nullptr;
  int64_t floats = 0;
};

constexpr int max_workers = 1024;
Block per_worker[max_workers][scratch_slots];
Block shared[scratch_slots];

float *grow(Block &block, int64_t floats) {
  if (floats <= block.floats) return block.data;
  if (block.data) system_free(block.data, block.floats * int64_t(sizeof(float)));
  // Half as much again: a caller that asks for a little more each time does not reallocate each time.
  int64_t wanted = (floats > block.floats + block.floats / 2 ? floats : block.floats + block.floats / 2) + 15;
  wanted &= ~int64_t(15);
  block.data = static_cast<float *>(system_alloc(wanted * int64_t(sizeof(float))));
  block.floats = block.data ? wanted : 0;
  return block.data;
}

void drop(Block &block) {
  if (block.data) system_free(block.data, block.floats * int64_t(sizeof(float)));
  block = Block();
}

}  // namespace

float *scratch(int worker, int64_t floats, int slot) { return grow(per_worker[worker][slot], floats < 1 ? 1 : floats); }

float *shared_scratch(int64_t floats, int slot) { return grow(shared[slot], floats < 1 ? 1 : floats); }

void free_scratch() {
  for (auto &slots : per_worker)
    for (Block &block : slots) drop(block);
  for (Block &block : shared) drop(block);
}

}  // namespace xl
