// CUDA graphs: kernels recorded once and replayed with one call, which spares the launches of a decoding step.
#include <set>

#include "device.h"
#include "kernel.cuh"
#include "xl_cuda.h"

namespace xl {
namespace {

struct Graph {
  cudaGraphExec_t executable;
  int number;
};

int recorded = 0, numbered = 0;
std::set<Graph *> alive;

}  // namespace

int recorded_graph() { return recorded; }
int graphs_alive() { return int(alive.size()); }

}  // namespace xl

using namespace xl;

extern "C" {

int xl_capture_begin(void) {
  if (int status = need_device("capture_begin")) return status;
  if (recorded) return fail(XL_INVALID, "capture_begin: a graph is being recorded already");
  // Relaxed, so that memory can be allocated meanwhile.
  if (int status = check("capture_begin", cudaStreamBeginCapture(stream(), cudaStreamCaptureModeRelaxed)))
    return status;
  recorded = ++numbered;
  return XL_OK;
}

int xl_capture_end(double *graph) {
  if (!recorded) return fail(XL_INVALID, "capture_end: no graph is being recorded");
  cudaGraph_t captured = nullptr;
  cudaGraphExec_t executable = nullptr;
  int status = check("capture_end", cudaStreamEndCapture(stream(), &captured));
  if (status == XL_OK) status = check("capture_end", cudaGraphInstantiate(&executable, captured, 0));
  if (captured) cudaGraphDestroy(captured);
  const int number = recorded;
  recorded = 0;
  end_recording();
  if (status != XL_OK) {
    release_graph_memory(number);
    return status;
  }
  auto *made = new Graph{executable, number};
  alive.insert(made);
  graph[0] = double(reinterpret_cast<uintptr_t>(made));
  return XL_OK;
}

int xl_graph_launch(uintptr_t graph) {
  if (int status = need_device("graph_launch")) return status;
  auto *known = reinterpret_cast<Graph *>(graph);
  if (alive.count(known) == 0) return fail(XL_INVALID, "graph_launch: no such graph; was it destroyed?");
  return check("graph_launch", cudaGraphLaunch(known->executable, stream()));
}

int xl_graph_destroy(uintptr_t graph) {
  auto *known = reinterpret_cast<Graph *>(graph);
  if (alive.erase(known) == 0) return fail(XL_INVALID, "graph_destroy: no such graph; was it destroyed already?");
  const int status = check("graph_destroy", cudaGraphExecDestroy(known->executable));
  release_graph_memory(known->number);
  delete known;
  return status;
}

}  // extern "C"
