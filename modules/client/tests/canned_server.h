#pragma once

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "ebb/base/ids.h"
#include "ebb/base/unique_fd.h"

namespace ebb::client {

/// A server on a Unix socket that answers each connection in turn with the bytes of one step, whatever it was
/// asked, and remembers what that was. A step that is empty closes the connection without an answer.
class CannedServer {
 public:
  explicit CannedServer(std::vector<std::string> answers, bool keep_open = false)
      : folder_(std::filesystem::temp_directory_path().string() + "/ebb-canned-" + random_hex(8)) {
    std::filesystem::create_directories(folder_);
    listener_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path().c_str(), sizeof address.sun_path - 1);
    if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(listener_.get(), 16) != 0) {
      std::abort();
    }
    thread_ = std::thread([this, answers = std::move(answers), keep_open] { serve(answers, keep_open); });
  }
  ~CannedServer() {
    ::shutdown(listener_.get(), SHUT_RDWR);  // ends accept()
    thread_.join();
    std::filesystem::remove_all(folder_);
  }
  CannedServer(const CannedServer&) = delete;
  CannedServer& operator=(const CannedServer&) = delete;

  [[nodiscard]] std::string path() const { return folder_ + "/s"; }
  /// What came, a connection each; to be read once the client has its answers.
  [[nodiscard]] const std::vector<std::string>& requests() const { return requests_; }

 private:
  void serve(const std::vector<std::string>& answers, bool keep_open) {
    for (const std::string& answer : answers) {
      UniqueFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!connection) return;
      requests_.push_back(read_request(connection.get()));
      if (!answer.empty()) (void)::send(connection.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
      if (keep_open) open_.push_back(std::move(connection));
    }
  }

  static std::string read_request(int fd) {
    std::string text;
    char buffer[4096];
    while (true) {
      const auto end = text.find("\r\n\r\n");
      if (end != std::string::npos) {
        const auto length = text.find("Content-Length: ");
        const std::size_t body =
            length == std::string::npos ? 0 : static_cast<std::size_t>(std::stoul(text.substr(length + 16)));
        if (text.size() >= end + 4 + body) return text;
      }
      const ssize_t size = ::recv(fd, buffer, sizeof buffer, 0);
      if (size <= 0) return text;
      text.append(buffer, static_cast<std::size_t>(size));
    }
  }

  std::string folder_;
  UniqueFd listener_;
  std::vector<std::string> requests_;
  std::vector<UniqueFd> open_;
  std::thread thread_;
};

inline std::string answer(int status, const std::string& type, const std::string& body) {
  return "HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Type: " + type +
         "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}
inline std::string chunked(const std::vector<std::string>& chunks, bool ended = true) {
  std::string text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const std::string& chunk : chunks) {
    char size[32];
    std::snprintf(size, sizeof size, "%zx\r\n", chunk.size());
    text += size + chunk + "\r\n";
  }
  return ended ? text + "0\r\n\r\n" : text;
}

}  // namespace ebb::client
