#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ebb/model/report.h"

namespace ebb::model {

enum class DeviceState {
  free,
  leased,
  releasing,    ///< its job is; it is not verified free yet
  outside,      ///< used by a process that is not Ebb's
  quarantined,  ///< something of an ended attempt is still on it
  unknown,      ///< the driver does not answer
};

struct Gpu {
  int id = 0;  ///< what --gpu-ids means: the index as the daemon sees it
  std::string uuid;
  std::string name;
  DeviceState state = DeviceState::free;
  std::optional<JobId> job;
  std::optional<std::string> user;
  std::optional<std::string> why;
  std::optional<std::vector<OutsideUse>> outside;
  std::optional<std::int64_t> memory_mib;
  std::optional<int> numa_node;
};

struct Port {
  int port = 0;
  DeviceState state = DeviceState::free;
  std::optional<JobId> job;
  std::optional<std::string> user;
  std::optional<std::string> why;
};

struct Devices {
  std::vector<Gpu> gpus;
  std::vector<Port> ports;
};

}  // namespace ebb::model
