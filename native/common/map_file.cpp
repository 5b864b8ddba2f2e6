// Read-only mapping of files: token files and checkpoints are used without being copied.
#include <cerrno>
#include <cstring>

#include "status.h"
#include "xl.h"

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

using xl::fail;

#if defined(_WIN32)

extern "C" int xl_map_file(double *address_and_size, const char *path) {
  wchar_t wide[4096];
  if (MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, 4096) == 0)
    return fail(XL_INVALID, "map_file: %s: not a usable path", path);
  HANDLE file = CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, 0, nullptr);
  if (file == INVALID_HANDLE_VALUE) return fail(XL_INVALID, "map_file: %s: error %lu", path, GetLastError());
  LARGE_INTEGER size;
  HANDLE mapping = nullptr;
  void *view = nullptr;
  if (GetFileSizeEx(file, &size) && size.QuadPart > 0) {
    mapping = CreateFileMappingW(file, nullptr, PAGE_READONLY, 0, 0, nullptr);
    if (mapping) view = MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
  }
  unsigned long error = GetLastError();
  if (mapping) CloseHandle(mapping);  // the view keeps the mapping alive
  CloseHandle(file);
  if (!view && size.QuadPart > 0) return fail(XL_INVALID, "map_file: %s: error %lu", path, error);
  address_and_size[0] = double(reinterpret_cast<uintptr_t>(view));
  address_and_size[1] = double(size.QuadPart);
  return XL_OK;
}

extern "C" int xl_unmap_file(uintptr_t address, int64_t) {
  if (address != 0 && !UnmapViewOfFile(reinterpret_cast<void *>(address)))
    return fail(XL_INVALID, "unmap_file: error %lu", GetLastError());
  return XL_OK;
}

#else

extern "C" int xl_map_file(double *address_and_size, const char *path) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return fail(XL_INVALID, "map_file: %s: %s", path, std::strerror(errno));
  struct stat status;
  void *address = nullptr;
  int64_t bytes = 0;
  int error = 0;
  if (fstat(file, &status) != 0) {
    error = errno;
  } else if (!S_ISREG(status.st_mode)) {
    error = EINVAL;
  } else if ((bytes = int64_t(status.st_size)) > 0) {  // an empty mapping is not allowed: an empty file has address 0
    address = mmap(nullptr, size_t(bytes), PROT_READ, MAP_SHARED, file, 0);
    if (address == MAP_FAILED) error = errno;
  }
  close(file);  // the mapping stays
  if (error) return fail(XL_INVALID, "map_file: %s: %s", path, std::strerror(error));
  address_and_size[0] = double(reinterpret_cast<uintptr_t>(address));
  address_and_size[1] = double(bytes);
  return XL_OK;
}

extern "C" int xl_unmap_file(uintptr_t address, int64_t bytes) {
  if (address != 0 && munmap(reinterpret_cast<void *>(address), size_t(bytes)) != 0)
    return fail(XL_INVALID, "unmap_file: %s", std::strerror(errno));
  return XL_OK;
}

#endif
