#include "job.h"

#include <algorithm>
#include <bit>

namespace ebb::engine {

Attempt* Job::attempt() {
  return std::visit(Overloaded{[](Queued&) -> Attempt* { return nullptr; },
                               [](Boxed<Acquiring>&) -> Attempt* { return nullptr; },
                               [](auto& boxed) -> Attempt* { return &boxed->attempt; }},
                    phase);
}

int memory_class(std::int64_t bytes) {
  if (bytes <= 0) return 0;
  const auto value = static_cast<std::uint64_t>(bytes);
  const int width = static_cast<int>(std::bit_width(value));
  const auto eighth = width > 4 ? (value >> (width - 4)) & 7U : value & 7U;
  return width * 8 + static_cast<int>(eighth);
}

Shape shape_of(const Demand& demand) {
  Shape shape;
  shape.gpu_ids = demand.gpu_ids;
  std::ranges::sort(shape.gpu_ids);
  shape.gpus = demand.gpu_ids.empty() ? demand.gpus : static_cast<int>(demand.gpu_ids.size());
  shape.ports = demand.ports;
  shape.memory_class = memory_class(demand.memory_bytes);
  return shape;
}

}  // namespace ebb::engine
