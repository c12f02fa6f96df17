// gpu_hold MIB: takes that much memory of the first GPU of CUDA_VISIBLE_DEVICES, says "holding", and keeps it
// until it is killed or its stdin ends. Only the driver is needed: libcuda.so.1 is loaded, not linked.

#include <dlfcn.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace {

// CUDA's driver interface, as documented: every call returns 0 on success.
using Init = int(unsigned);
using DeviceGet = int(int*, int);
using CtxCreate = int(void**, unsigned, int);
using MemAlloc = int(unsigned long long*, std::size_t);
using MemsetD8 = int(unsigned long long, unsigned char, std::size_t);

template <typename Function>
Function* find(void* library, const char* name) {
  auto* function = reinterpret_cast<Function*>(::dlsym(library, name));
  if (function == nullptr) {
    std::fprintf(stderr, "gpu_hold: libcuda.so.1 has no %s\n", name);
    std::exit(3);
  }
  return function;
}

void must(int code, const char* what) {
  if (code == 0) return;
  std::fprintf(stderr, "gpu_hold: %s failed with CUDA error %d\n", what, code);
  std::exit(4);
}

}  // namespace

int main(int argc, char** argv) {
  const long mib = argc == 2 ? std::atol(argv[1]) : 0;
  if (mib <= 0) {
    std::fputs("usage: gpu_hold MIB\n", stderr);
    return 2;
  }
  void* library = ::dlopen("libcuda.so.1", RTLD_NOW);
  if (library == nullptr) {
    std::fprintf(stderr, "gpu_hold: %s\n", ::dlerror());
    return 3;
  }
  const std::size_t bytes = static_cast<std::size_t>(mib) << 20U;
  int device = 0;
  void* context = nullptr;
  unsigned long long memory = 0;
  must(find<Init>(library, "cuInit")(0), "cuInit");
  must(find<DeviceGet>(library, "cuDeviceGet")(&device, 0), "cuDeviceGet");
  must(find<CtxCreate>(library, "cuCtxCreate_v2")(&context, 0, device), "cuCtxCreate");
  must(find<MemAlloc>(library, "cuMemAlloc_v2")(&memory, bytes), "cuMemAlloc");
  must(find<MemsetD8>(library, "cuMemsetD8_v2")(memory, 1, bytes), "cuMemsetD8");
  std::puts("holding");
  std::fflush(stdout);
  char byte = 0;
  while (::read(STDIN_FILENO, &byte, 1) > 0) {
  }
  return 0;
}
