#include "control.h"

#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace ebb::nvml_stub {
namespace {

// A real driver forgets a process when its files are closed: before it is reaped.
bool lives(unsigned pid) {
  if (::kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH) return false;
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(file, text);
  const auto end = text.rfind(") ");
  return end == std::string::npos || (text[end + 2] != 'Z' && text[end + 2] != 'X');
}

StubGpu& gpu_at(Control& control, int number) {
  const auto index = static_cast<std::size_t>(std::clamp(number, 0, 63));
  while (control.gpus.size() <= index) {
    const std::string n = std::to_string(control.gpus.size());
    StubGpu gpu;
    gpu.uuid = "GPU-0000000" + n;
    gpu.name = "Stub GPU";
    gpu.pci = "00000000:0" + n + ":00.0";
    gpu.memory_mib = 81920;
    gpu.used_mib = 3;
    gpu.minor = static_cast<unsigned>(control.gpus.size());
    control.gpus.push_back(std::move(gpu));
  }
  return control.gpus[index];
}

void set(StubGpu& gpu, const std::string& key, const std::string& value) {
  if (key == "uuid") gpu.uuid = value;
  if (key == "name") gpu.name = value;
  if (key == "pci") gpu.pci = value;
  if (key == "memory") gpu.memory_mib = std::atoll(value.c_str());
  if (key == "used") gpu.used_mib = std::atoll(value.c_str());
  if (key == "reserved") gpu.reserved_mib = std::atoll(value.c_str());
  if (key == "minor") gpu.minor = static_cast<unsigned>(std::atoi(value.c_str()));
  if (key == "mode") gpu.mode = std::atoi(value.c_str());
}

void read_settings(std::istringstream& words, StubGpu& gpu) {
  std::string word;
  while (words >> word) {
    const auto equals = word.find('=');
    if (equals != std::string::npos) set(gpu, word.substr(0, equals), word.substr(equals + 1));
  }
}

void read_process(std::istringstream& words, Control& control) {
  Process process;
  std::string mib;
  words >> process.gpu >> process.pid >> mib;
  process.mib = mib == "-" ? -1 : std::atoll(mib.c_str());
  bool stays = false;
  for (std::string word; words >> word;) {
    if (word == "stays") {
      stays = true;
    } else {
      process.kind = word;
    }
  }
  if (stays || lives(process.pid)) control.processes.push_back(process);
}

void read_line(const std::string& line, Control& control, std::vector<StubGpu>& instances) {
  std::istringstream words(line);
  std::string what;
  words >> what;
  int a = 0;
  int b = 0;
  int value = 0;
  if (what == "driver") words >> control.driver;
  if (what == "gpu" && words >> a) read_settings(words, gpu_at(control, a));
  if (what == "process") read_process(words, control);
  if (what == "lost" && words >> a) control.lost.push_back(a);
  if (what == "link" && words >> a >> b >> value) control.links[std::minmax(a, b)] = value;
  if (what == "near" && words >> a >> b >> value) control.levels[std::minmax(a, b)] = value;
  if (what == "mig" && words >> a) {
    gpu_at(control, a).mig = true;
    StubGpu instance = gpu_at(control, a);
    instance.uuid.clear();
    instance.used_mib = 0;
    instance.parent = a;
    read_settings(words, instance);
    if (!instance.uuid.empty()) instances.push_back(std::move(instance));
  }
  std::string call;
  if (what == "hang" && words >> call) {
    if (call == "gpu" && words >> a) {
      control.hanging_gpus.push_back(a);
    } else {
      control.hanging_calls.push_back(call);
    }
  }
  if (what == "error" && words >> call >> value) control.errors[call] = value;
}

}  // namespace

int Control::whole() const {
  return static_cast<int>(
      std::count_if(gpus.begin(), gpus.end(), [](const StubGpu& gpu) { return gpu.parent < 0; }));
}

long long Control::used(int gpu) const {
  long long sum = gpus[static_cast<std::size_t>(gpu)].used_mib;
  for (const Process& process : processes) {
    if (process.gpu == gpu) sum += std::max(process.mib, 0LL);
  }
  return sum;
}

Control read_control() {
  Control control;
  const char* path = std::getenv("EBB_NVML_STUB");
  std::ifstream file(path != nullptr ? path : "");
  control.present = file.is_open();
  std::vector<StubGpu> instances;
  for (std::string line; std::getline(file, line);) read_line(line, control, instances);
  control.gpus.insert(control.gpus.end(), instances.begin(), instances.end());
  return control;
}

}  // namespace ebb::nvml_stub
