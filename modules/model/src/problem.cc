#include <algorithm>
#include <array>

#include "ebb/model/api.h"

namespace ebb::model {
namespace {

struct Kind {
  std::string_view type;
  Errc code;
  int status;
  std::string_view title;
};

// The stable types of the API. The first with a code stands for an error of that code without a type.
constexpr std::array kKinds = {
    Kind{"invalid-request", Errc::invalid, 422, "The request is not valid"},
    Kind{"malformed-json", Errc::invalid, 400, "The body is not one JSON text"},
    Kind{"duplicate-key", Errc::invalid, 400, "A key stands twice in one object"},
    Kind{"unknown-field", Errc::invalid, 422, "The request has a field that does not exist"},
    Kind{"impossible-request", Errc::impossible, 422, "This server can never grant the request"},
    Kind{"unauthenticated", Errc::unauthenticated, 401, "A valid API key is required"},
    Kind{"forbidden", Errc::forbidden, 403, "Not allowed"},
    Kind{"not-yours", Errc::forbidden, 403, "This belongs to somebody else"},
    Kind{"not-found", Errc::not_found, 404, "No such thing"},
    Kind{"no-such-job", Errc::not_found, 404, "No such job"},
    Kind{"no-such-report", Errc::not_found, 404, "No report yet"},
    Kind{"no-such-user", Errc::not_found, 404, "No such user"},
    Kind{"no-such-device", Errc::not_found, 404, "No such device"},
    Kind{"method-not-allowed", Errc::invalid, 405, "The method is not allowed here"},
    Kind{"unsupported-media-type", Errc::invalid, 415, "The body must be application/json"},
    Kind{"conflict", Errc::conflict, 409, "Clashes with what is there"},
    Kind{"idempotency-conflict", Errc::conflict, 409, "The Idempotency-Key was used for another request"},
    Kind{"payload-too-large", Errc::too_large, 413, "The request is too large"},
    Kind{"over-quota", Errc::exhausted, 429, "Over the quota"},
    Kind{"queue-full", Errc::exhausted, 429, "The queue is full"},
    Kind{"too-many-requests", Errc::exhausted, 429, "Too many requests at once"},
    Kind{"unavailable", Errc::unavailable, 503, "Not available now"},
    Kind{"draining", Errc::unavailable, 503, "The server takes no new jobs"},
    Kind{"timeout", Errc::timeout, 504, "It took too long"},
    Kind{"storage-error", Errc::io, 503, "The operating system refused"},
    Kind{"corrupt-data", Errc::corrupt, 500, "Stored data does not make sense"},
    Kind{"internal-error", Errc::internal, 500, "A defect of the server"},
};

const Kind& of_code(Errc code) {
  const auto found = std::ranges::find(kKinds, code, &Kind::code);
  return found != kKinds.end() ? *found : kKinds.back();
}

const Kind* of_type(std::string_view type) {
  const auto found = std::ranges::find(kKinds, type, &Kind::type);
  return found != kKinds.end() ? &*found : nullptr;
}

// What a status means that came with a type we do not know: from a newer server, or a proxy between.
Errc of_status(int status) {
  constexpr int kServerErrors = 500;
  switch (status) {
    case 401:
      return Errc::unauthenticated;
    case 403:
      return Errc::forbidden;
    case 404:
      return Errc::not_found;
    case 408:
    case 504:
      return Errc::timeout;
    case 409:
      return Errc::conflict;
    case 413:
      return Errc::too_large;
    case 429:
      return Errc::exhausted;
    case 502:
    case 503:
      return Errc::unavailable;
    default:
      return status >= kServerErrors ? Errc::internal : Errc::invalid;
  }
}

}  // namespace

Problem to_problem(const Error& error) {
  const Kind* known = of_type(error.type);
  const Kind& kind = known != nullptr ? *known : of_code(error.code);
  Problem problem;
  problem.type = error.type.empty() ? kind.type : error.type;
  problem.title = kind.title;
  problem.status = kind.status;
  problem.detail = error.message;
  if (!error.pointer.empty()) problem.pointer = error.pointer;
  return problem;
}

Error to_error(const Problem& problem) {
  const Kind* known = of_type(problem.type);
  return {.code = known != nullptr ? known->code : of_status(problem.status),
          .message = problem.detail.empty() ? problem.title : problem.detail,
          .pointer = problem.pointer.value_or(""),
          .type = problem.type};
}

}  // namespace ebb::model
