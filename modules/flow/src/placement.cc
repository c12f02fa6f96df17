#include "ebb/flow/runtime/placement.h"

#include "thread_name.h"

namespace ebb::flow {

void InProcess::connect(EdgeBase& edge, std::span<Worker* const> producers,
                        std::span<Worker* const> consumers) {
  edge.connect(producers, consumers);
}

void InProcess::start(const std::string& name, std::function<void()> body) {
  threads_.emplace_back([name, body = std::move(body)] {
    name_thread(name);
    body();
  });
}

void InProcess::end() {
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void InProcess::leave_behind() noexcept {
  for (std::thread& thread : threads_) thread.detach();
  threads_.clear();
}

}  // namespace ebb::flow
