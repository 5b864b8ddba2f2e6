// Finds and loads cuBLASLt: by its plain name (LD_LIBRARY_PATH, the system's list), in a CUDA toolkit, or in the
// site-packages of a Python environment, where the wheels nvidia-cublas and those of PyTorch put it.
#include "cublaslt.h"

#include <dlfcn.h>
#include <glob.h>
#include <stdlib.h>

#include <string>
#include <vector>

#include "device.h"
#include "status.h"
#include "xl_cuda.h"

namespace xl {
namespace {

const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"};

// The folder of the first `command` on the PATH, "" if there is none.
std::string folder_of(const char *command) {
  const char *path = getenv("PATH");
  std::string rest = path ? path : "";
  while (!rest.empty()) {
    const size_t end = rest.find(':');
    const std::string folder = rest.substr(0, end);
    rest = end == std::string::npos ? "" : rest.substr(end + 1);
    glob_t found;
    const bool exists = glob((folder + "/" + command).c_str(), 0, nullptr, &found) == 0;
    globfree(&found);
    if (exists) return folder;
  }
  return "";
}

std::vector<std::string> folders() {
  std::vector<std::string> list;
  for (const char *name : {"CUDA_HOME", "CUDA_PATH"})
    if (const char *home = getenv(name))
      for (const char *below : {"/lib64", "/lib", "/targets/x86_64-linux/lib", "/targets/sbsa-linux/lib"})
        list.push_back(std::string(home) + below);
  list.insert(list.end(), {"/usr/local/cuda/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"});
  std::vector<std::string> packages;
  if (const char *environment = getenv("VIRTUAL_ENV"))
    packages.push_back(std::string(environment) + "/lib/python3*/site-packages");
  for (const char *python : {"python3", "python"})
    if (const std::string folder = folder_of(python); !folder.empty())
      packages.push_back(folder + "/../lib/python3*/site-packages");
  packages.insert(packages.end(), {"/usr/local/lib/python3*/dist-packages", "/usr/lib/python3/dist-packages"});
  for (const auto &folder : packages)
    for (const char *below : {"/nvidia/cu13/lib", "/nvidia/cublas/lib"}) list.push_back(folder + below);
  return list;
}

std::string loaded_from;

void *load() {
  for (const char *name : names)
    if (void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL)) {
      loaded_from = name;
      return library;
    }
  std::string looked = "the system's library path";
  std::string reason;
  for (const auto &folder : folders()) {
    looked += ", " + folder;
    glob_t found{};
    for (const char *name : names) {
      if (glob((folder + "/" + name).c_str(), 0, nullptr, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; i++) {
          if (void *library = dlopen(found.gl_pathv[i], RTLD_NOW | RTLD_LOCAL)) {
            loaded_from = found.gl_pathv[i];
            globfree(&found);
            return library;
          }
          if (const char *said = dlerror()) reason = std::string(" (") + said + ")";
        }
      globfree(&found);
      found = {};
    }
  }
  fail(XL_INTERNAL,
       "matmul: cuBLASLt (%s) was not found%s. Install it (pip install nvidia-cublas, or a CUDA toolkit) or add its "
       "folder to LD_LIBRARY_PATH. Looked in: %s",
       names[0], reason.c_str(), looked.c_str());
  return nullptr;
}

template <class F>
bool bind(void *library, F *&function, const char *name) {
  function = reinterpret_cast<F *>(dlsym(library, name));
  if (!function) fail(XL_INTERNAL, "matmul: %s has no function %s; install cuBLAS 12 or newer", loaded_from.c_str(), name);
  return function != nullptr;
}

bool open(CublasLt &lt) {
  void *library = load();
  if (!library) return false;
  if (!bind(library, lt.get_version, "cublasLtGetVersion") || !bind(library, lt.create, "cublasLtCreate") ||
      !bind(library, lt.desc_create, "cublasLtMatmulDescCreate") ||
      !bind(library, lt.desc_set, "cublasLtMatmulDescSetAttribute") ||
      !bind(library, lt.layout_create, "cublasLtMatrixLayoutCreate") ||
      !bind(library, lt.layout_set, "cublasLtMatrixLayoutSetAttribute") ||
      !bind(library, lt.preference_create, "cublasLtMatmulPreferenceCreate") ||
      !bind(library, lt.preference_set, "cublasLtMatmulPreferenceSetAttribute") ||
      !bind(library, lt.preference_destroy, "cublasLtMatmulPreferenceDestroy") ||
      !bind(library, lt.heuristic, "cublasLtMatmulAlgoGetHeuristic") || !bind(library, lt.matmul, "cublasLtMatmul"))
    return false;
  if (const int status = lt.create(&lt.handle)) {
    fail(XL_INTERNAL, "matmul: %s: cublasLtCreate failed with status %d", loaded_from.c_str(), status);
    return false;
  }
  return true;
}

}  // namespace

const CublasLt *cublaslt() {
  static CublasLt lt{};
  static bool is_open = false;
  if (!is_open) is_open = open(lt);
  return is_open ? &lt : nullptr;
}

}  // namespace xl

using namespace xl;

extern "C" {

int xl_load_cublaslt(void) {
  if (int status = need_device("load_cublaslt")) return status;
  return cublaslt() ? XL_OK : XL_INTERNAL;
}
const char *xl_cublaslt_path(void) { return loaded_from.c_str(); }
int32_t xl_cublaslt_version(void) { return cublaslt() ? int32_t(cublaslt()->get_version()) : 0; }

}  // extern "C"
