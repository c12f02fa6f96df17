// Pure checks on where a request comes from.
#pragma once

#include <optional>
#include <string_view>

#include "connection.h"
#include "ebb/daemon/config.h"
#include "message.h"

namespace ebb::server {

/// The key of "Bearer KEY": the scheme in any case, exactly two words.
[[nodiscard]] std::optional<std::string_view> bearer_key(std::string_view authorization);
/// Host without its port and brackets, in lower case; nothing where it is malformed.
[[nodiscard]] std::optional<std::string> host_name(std::string_view host);
/// Whether a Host header names this server: a page of another site that has its name resolve to our address
/// (DNS rebinding) still sends that name.
[[nodiscard]] bool host_allowed(std::string_view host, const Remote& remote, const daemon::Config& config);
[[nodiscard]] bool same_origin(std::string_view origin, std::string_view host);
[[nodiscard]] Response cors_preflight();

}  // namespace ebb::server
