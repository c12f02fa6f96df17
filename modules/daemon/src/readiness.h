#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/base/listeners.h"
#include "ebb/base/result.h"

#include <boost/asio/io_context.hpp>

namespace ebb::daemon {

/// Asks a job's server whether it is ready: GET `path` on its port must answer 200, and every listener on
/// that port, IPv4 and IPv6, must be the attempt's own; one that no living process has is looked at again for
/// a second. Looks at once and then after 5, 10, 20 … 200 ms,
/// since the kernel tells nobody of a new listener. Destroying it stops it; it then calls nobody.
class Readiness {
 public:
  struct Question {
    std::string path;
    int port = 0;
    Duration timeout{};
    std::function<bool(const Listener&)> is_own;
  };
  /// Ready, or why it never will be. Called once, on the loop's thread.
  using Answer = std::function<void(Result<void>)>;

  Readiness(boost::asio::io_context& io, Question question, Answer answer);
  Readiness(const Readiness&) = delete;
  Readiness& operator=(const Readiness&) = delete;
  ~Readiness();

 private:
  class Prober;
  std::shared_ptr<Prober> prober_;
};

}  // namespace ebb::daemon
