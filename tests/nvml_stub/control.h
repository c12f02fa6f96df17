#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

/// What the file named by EBB_NVML_STUB says (README.md beside this file). Read anew at every call, so that a
/// test or a job changes the machine by writing to the file.
namespace ebb::nvml_stub {

struct Process {
  int gpu = 0;
  unsigned pid = 0;
  long long mib = -1;  ///< -1: the driver does not tell
  std::string kind = "compute";
};

struct StubGpu {
  std::string uuid;
  std::string name;
  std::string pci;
  long long memory_mib = 0;
  long long used_mib = 0;
  long long reserved_mib = 0;
  unsigned minor = 0;
  int mode = 0;
  bool mig = false;
  int parent = -1;  ///< >= 0: a MIG instance of that GPU
};

struct Control {
  bool present = false;  ///< there is a file, with a GPU or without
  std::string driver = "570.86.15";
  std::vector<StubGpu> gpus;  ///< whole ones, then MIG instances
  std::vector<Process> processes;
  std::vector<int> lost;
  std::vector<int> hanging_gpus;
  std::vector<std::string> hanging_calls;
  std::map<std::string, int> errors;  ///< by call
  std::map<std::pair<int, int>, int> links;
  std::map<std::pair<int, int>, int> levels;

  [[nodiscard]] int whole() const;
  [[nodiscard]] long long used(int gpu) const;  ///< its own and that of its living processes
};

[[nodiscard]] Control read_control();

}  // namespace ebb::nvml_stub
