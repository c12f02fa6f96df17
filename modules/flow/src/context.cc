#include "ebb/flow/context.h"

#include "ebb/flow/runtime/graph.h"
#include "ebb/flow/runtime/side.h"

namespace ebb {

Context::Context(flow::Worker& worker, const flow::Operator& op, int replica, int replicas)
    : worker_(&worker), operator_(&op), replica_(replica), replicas_(replicas) {}
Context::~Context() = default;

const std::string& Context::name() const noexcept { return operator_->name; }

std::stop_token Context::stop_token() const noexcept { return worker_->stop_token(); }

}  // namespace ebb
