#pragma once

#include <stdlib.h>

#include <filesystem>
#include <system_error>

#include "property.h"

namespace ebb::fuzz {

/// A fresh folder for what a target writes, removed with all that is in it.
class Folder {
 public:
  Folder() {
    char path[] = "/tmp/ebb-fuzz-XXXXXX";
    must(mkdtemp(path) != nullptr);
    path_ = path;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  void clear() const {
    for (const auto& entry : std::filesystem::directory_iterator(path_)) std::filesystem::remove(entry);
  }
  [[nodiscard]] std::filesystem::path operator/(const char* name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace ebb::fuzz
