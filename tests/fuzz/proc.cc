// The kernel's text files, which other users' process names reach into.

#include "ebb/process/proc.h"
#include "ebb/base/listeners.h"
#include "ebb/process/cgroup.h"
#include "ebb/process/ipc_sweep.h"
#include "property.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = ebb::fuzz::text(data, size);
  (void)ebb::process::parse_proc_stat(text);
  (void)ebb::process::parse_proc_status(text);
  (void)ebb::process::parse_proc_limits(text);
  (void)ebb::process::parse_proc_cgroup(text);
  (void)ebb::process::parse_nul_words(text);
  (void)ebb::process::parse_sysvipc(ebb::process::IpcObject::Kind{}, text);
  (void)ebb::process::parse_cgroup_mounts(text.substr(0, size / 2), text.substr(size / 2));
  (void)ebb::parse_proc_net_tcp(text, size % 2 == 0);
  return 0;
}
