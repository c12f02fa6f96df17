#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ebb/base/result.h"
#include "ebb/daemon/config.h"
#include "ebb/daemon/daemon.h"
#include "ebb/model/job.h"

namespace ebb::daemon {

/// A submission by template, as far as it is known before the job has its id and its leases.
struct FilledTemplate {
  model::JobRequest request;                  ///< its words still hold placeholders
  std::map<std::string, std::string> fields;  ///< values of the placeholders that come from the request
  std::string config_json;                    ///< without its secrets; empty where there is no config
};

/// Chooses the words (an inner array falls away with a placeholder that has no value), checks that no value
/// can turn into an option, and leaves secrets out of the config.
[[nodiscard]] Result<FilledTemplate> fill_template(const JobTemplate& job_template,
                                                   const Submission::FromTemplate& from,
                                                   const Config& config);

/// What a job made by a template remembers of it, as JobRow::origin: JSON of name, fields and config.
struct Origin {
  std::string name;
  std::map<std::string, std::string> fields;
  std::string config_json;
};
[[nodiscard]] std::string write_origin(const Origin& origin);
[[nodiscard]] Result<Origin> parse_origin(std::string_view text);

}  // namespace ebb::daemon
