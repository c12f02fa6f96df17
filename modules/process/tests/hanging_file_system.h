#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fuse.h>
#include <sys/mount.h>
#include <unistd.h>

#include <string>

#include "ebb/base/unique_fd.h"

namespace ebb::process::testing {

/// A file system whose server takes a request and never answers: whoever made it cannot be killed until the
/// server is gone. The server is this class, without libfuse.
class HangingFileSystem {
 public:
  explicit HangingFileSystem(const std::string& folder) : folder_(folder) {
    device_.reset(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
    const std::string options =
        "fd=" + std::to_string(device_.get()) + ",rootmode=40000,user_id=0,group_id=0,allow_other";
    mounted_ =
        device_ && ::mount("ebb-hang", folder.c_str(), "fuse", MS_NOSUID | MS_NODEV, options.c_str()) == 0;
    if (mounted_) answer_init();
  }
  ~HangingFileSystem() { release(); }
  HangingFileSystem(const HangingFileSystem&) = delete;
  HangingFileSystem& operator=(const HangingFileSystem&) = delete;
  [[nodiscard]] bool mounted() const { return mounted_; }
  /// Returns when a process hangs in it.
  void take_request() {
    char request[FUSE_MIN_READ_BUFFER];
    EXPECT_GT(::read(device_.get(), request, sizeof request), 0);
  }
  /// Lets go of everybody.
  void release() {
    device_.reset();
    if (mounted_) ::umount2(folder_.c_str(), MNT_DETACH);
    mounted_ = false;
  }

 private:
  void answer_init() {
    char request[FUSE_MIN_READ_BUFFER];
    ASSERT_GT(::read(device_.get(), request, sizeof request), 0);
    struct {
      fuse_out_header header;
      fuse_init_out init;
    } answer{};
    answer.header.len = sizeof answer;
    answer.header.unique = reinterpret_cast<const fuse_in_header*>(request)->unique;
    answer.init.major = FUSE_KERNEL_VERSION;
    answer.init.minor = 31;
    answer.init.max_write = 4096;
    ASSERT_EQ(::write(device_.get(), &answer, sizeof answer), static_cast<ssize_t>(sizeof answer));
  }
  std::string folder_;
  UniqueFd device_;
  bool mounted_ = false;
};

}  // namespace ebb::process::testing
