#include "ebb/flow/context.h"

#include "ebb/flow/runtime/graph.h"

namespace ebb {

const std::string& Context::name() const noexcept { return operator_->name; }

std::stop_token Context::stop_token() const noexcept { return worker_->stop_token(); }

}  // namespace ebb
