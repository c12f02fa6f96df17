#pragma once

#include <string>

#include "ebb/base/unique_fd.h"
#include "ebb/flow/context.h"

namespace ebb::flow {

/// One file that is written under a temporary name. It is *open* until commit() or abort(), *gone* after it.
class OutputFile {
 public:
  /// Throws IoError. `maker`: whose it is, for messages.
  OutputFile(const std::string& path, const char* maker, Context& context);
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  /// Aborts.
  ~OutputFile();

  /// Where the next record is put together, behind those before it.
  [[nodiscard]] std::string& begin() {
    buffer_.resize(whole_);  // what a record left that was given up in the middle
    return buffer_;
  }
  /// The record is whole. Writes when much has come together. What goes wrong with that fails the run, and is
  /// thrown besides: the record is not written.
  void end() {
    buffer_ += '\n';
    whole_ = buffer_.size();
    if (whole_ >= kBlock) write_out();
  }
  /// Everything is on the disk, still under the temporary name. Throws IoError.
  void flush();
  /// Gives it its name. Throws IoError; then nothing is left, or the file under its name.
  void commit();
  void abort() noexcept;

 private:
  static constexpr std::size_t kBlock = std::size_t{256} << 10;

  void write_out();

  std::string path_;
  std::string temporary_;
  Context* context_;
  UniqueFd fd_;
  std::string buffer_;
  std::size_t whole_ = 0;  // of the buffer: records that are whole
};

}  // namespace ebb::flow
