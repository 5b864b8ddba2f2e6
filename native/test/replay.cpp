// Runs recorded kernel cases through xl.h and compares with what the reference computed: the kernel tests for a
// processor on which there is no Node, under an emulator for instance. The record is written, and its layout described,
// by src/device/selftest/record.ts.
//
//   replay RECORD [INSTRUCTION_SET]
//
// Prints a line for each case that fails and a summary. Exit status 0 if all passed, 1 if not, 2 for a bad record.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "xl.h"

namespace {

struct Argument {
  void *address;
  double number;
};

struct Kernel {
  const char *name;
  size_t arguments;
  int (*call)(const Argument *arguments);
};

#include "generated/calls.h"  // const Kernel kernels[], from xl.h

enum Dtype : uint32_t { FLOAT = 0, INT32 = 1, UINT8 = 2 };

[[noreturn]] void bad_record(const char *what) {
  std::fprintf(stderr, "replay: not a record of kernel cases: %s\n", what);
  std::exit(2);
}

class Reader {
 public:
  explicit Reader(const char *path) {
    std::FILE *file = std::fopen(path, "rb");
    if (!file) bad_record("the file does not open");
    unsigned char piece[1 << 16];
    while (size_t n = std::fread(piece, 1, sizeof piece, file)) bytes_.insert(bytes_.end(), piece, piece + n);
    std::fclose(file);
  }
  uint32_t count() { return take<uint32_t>(); }
  double number() { return take<double>(); }
  std::string text() {
    const uint32_t length = count();
    return std::string(reinterpret_cast<const char *>(raw(length)), length);
  }
  const unsigned char *raw(size_t length) {
    if (length > bytes_.size() - at_) bad_record("it ends too early");
    at_ += length;
    return bytes_.data() + at_ - length;
  }

 private:
  template <class T>
  T take() {
    T value;
    std::memcpy(&value, raw(sizeof value), sizeof value);
    return value;
  }
  std::vector<unsigned char> bytes_;
  size_t at_ = 0;
};

size_t size_of(uint32_t dtype) { return dtype == UINT8 ? 1 : 4; }

// One buffer of a case, with a guard on either side: an odd number of elements, so that addresses are no multiple of a
// vector, filled with a pattern that must survive.
struct Buffer {
  static constexpr unsigned char pattern = 0xa5;
  std::string name;
  uint32_t dtype = 0, length = 0;
  bool compared = false;
  size_t guard = 0;
  std::vector<unsigned char> memory, expected;

  void read(Reader &in, size_t guard_elements) {
    dtype = in.count();
    length = in.count();
    const bool has_data = in.count() != 0;
    compared = in.count() != 0;
    name = in.text();
    if (dtype > UINT8) bad_record("an unknown type of data");
    const size_t bytes = length * size_of(dtype);
    guard = guard_elements * size_of(dtype);
    memory.assign(bytes + 2 * guard, pattern);
    if (has_data) {
      const unsigned char *data = in.raw(bytes);
      if (bytes) std::memcpy(content(), data, bytes);
    } else {
      std::memset(content(), 0xff, bytes);  // NaN, as fresh memory is in tests
    }
    if (compared) {
      const unsigned char *data = in.raw(bytes);
      expected.assign(data, data + bytes);
    }
  }
  unsigned char *content() { return memory.data() + guard; }
  bool guards_intact() const {
    for (size_t i = 0; i < guard; i++)
      if (memory[i] != pattern || memory[memory.size() - 1 - i] != pattern) return false;
    return true;
  }
  static double element(const unsigned char *data, uint32_t dtype, size_t i) {
    float f;
    int32_t n;
    if (dtype == UINT8) return data[i];
    if (dtype == INT32) return std::memcpy(&n, data + 4 * i, 4), n;
    return std::memcpy(&f, data + 4 * i, 4), f;
  }
  // RMS(error) / RMS(expected); infinite where one side is not finite and the other is not the same.
  double relative_rms() {
    double errors = 0, squares = 0;
    for (size_t i = 0; i < length; i++) {
      const double x = element(content(), dtype, i), y = element(expected.data(), dtype, i);
      const bool same = x == y || (std::isnan(x) && std::isnan(y));
      if (!same)
        errors += std::isfinite(x) && std::isfinite(y) ? (x - y) * (x - y) : std::numeric_limits<double>::infinity();
      if (std::isfinite(y)) squares += y * y;
    }
    if (errors == 0) return 0;
    const double scale = length ? length : 1;
    return std::sqrt(errors / scale) / std::fmax(1e-30, std::sqrt(squares / scale));
  }
};

const Kernel &find(const std::string &name, size_t arguments) {
  for (const Kernel &kernel : kernels) {
    if (name != kernel.name) continue;
    if (kernel.arguments != arguments) bad_record("a kernel with another number of arguments than xl.h has");
    return kernel;
  }
  bad_record("a kernel that xl.h does not have");
}

// Reads one call and runs it; '' or what went wrong.
std::string run_call(Reader &in, std::vector<Buffer> &buffers) {
  const std::string name = in.text();
  std::vector<Argument> arguments(in.count());
  for (Argument &argument : arguments) {
    const uint32_t kind = in.count();
    const double value = in.number();
    argument = {nullptr, value};
    if (kind == 1 && value >= buffers.size()) bad_record("an argument that is no buffer of its case");
    if (kind == 1) argument.address = buffers[size_t(value)].content();
  }
  const int status = find(name, arguments.size()).call(arguments.data());
  return status == XL_OK ? "" : xl_last_error();
}

bool run_case(Reader &in, size_t index) {
  const std::string name = in.text();
  const double tolerance = in.number();
  std::vector<Buffer> buffers(in.count());
  for (Buffer &buffer : buffers) buffer.read(in, index % 2 ? 21 : 16);
  std::string problem;
  for (uint32_t calls = in.count(); calls > 0; calls--) {
    const std::string error = run_call(in, buffers);
    if (problem.empty()) problem = error;
  }
  const bool ran = problem.empty();
  for (Buffer &buffer : buffers) {
    if (!buffer.guards_intact()) problem += " wrote outside of '" + buffer.name + "'";
    if (!buffer.compared || !ran) continue;
    const double rms = buffer.relative_rms();
    char text[200];
    std::snprintf(text, sizeof text, " %s is off by %.1e, allowed %.1e", buffer.name.c_str(), rms, tolerance);
    if (!(rms <= tolerance)) problem += text;
  }
  if (!problem.empty()) std::printf("FAILED %s: %s\n", name.c_str(), problem.c_str());
  return problem.empty();
}

}  // namespace

int main(int count, char **values) {
  if (count < 2) {
    std::fprintf(stderr, "usage: replay RECORD [INSTRUCTION_SET]\n");
    return 2;
  }
  if (count > 2 && xl_set_isa(values[2]) != XL_OK) {
    std::fprintf(stderr, "replay: %s\n", xl_last_error());
    return 2;
  }
  Reader in(values[1]);
  if (in.text() != "XLREPLAY") bad_record("its first bytes are others");
  const uint32_t cases = in.count();
  uint32_t failed = 0;
  for (uint32_t index = 0; index < cases; index++) failed += run_case(in, index) ? 0 : 1;
  std::printf("%s: %u kernel cases passed, %u failed\n", xl_isa(), cases - failed, failed);
  return failed ? 1 : 0;
}
