#pragma once

#include <map>
#include <string>
#include <string_view>

#include "ebb/base/result.h"

namespace ebb::client {

/// The address of each side process by its name.
using SidecarUrls = std::map<std::string, std::string>;

/// Replaces {sidecar.NAME.url} in one word, once: what is put in is not looked at again. Every other byte
/// stays, other placeholders too: those are the daemon's. `where` ("argument 3", "--env URL") is for the
/// error about a name that no --sidecar has.
[[nodiscard]] Result<std::string> replace_sidecar_urls(std::string_view text, const SidecarUrls& urls,
                                                       std::string_view where);

/// Replaces what a side process's own command may name: {port} (its own), {workdir}, {sidecar.NAME.url}. The
/// other names of placeholders belong to the job, which does not exist yet: errors.
[[nodiscard]] Result<std::string> expand_sidecar_command(std::string_view text, const std::string& name,
                                                         int port, const std::string& workdir,
                                                         const SidecarUrls& urls);

}  // namespace ebb::client
