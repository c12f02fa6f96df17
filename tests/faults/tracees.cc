#include "tracees.h"

#include <dirent.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace ebb::faults {
namespace {

enum class First { descriptor, text, other };  // what a call's first argument is
enum class Bytes { none, buffer, message };    // where its data is: (pointer, size), or a msghdr

struct Known {
  const char* name;
  long number;
  First first;
  Bytes bytes;
};

constexpr std::array kKnown = {
    Known{"read", SYS_read, First::descriptor, Bytes::buffer},
    Known{"write", SYS_write, First::descriptor, Bytes::buffer},
    Known{"pwrite64", SYS_pwrite64, First::descriptor, Bytes::buffer},
    Known{"recvfrom", SYS_recvfrom, First::descriptor, Bytes::buffer},
    Known{"sendto", SYS_sendto, First::descriptor, Bytes::buffer},
    Known{"recvmsg", SYS_recvmsg, First::descriptor, Bytes::message},
    Known{"sendmsg", SYS_sendmsg, First::descriptor, Bytes::message},
    Known{"fdatasync", SYS_fdatasync, First::descriptor, Bytes::none},
    Known{"flock", SYS_flock, First::descriptor, Bytes::none},
    Known{"close", SYS_close, First::descriptor, Bytes::none},
    Known{"rename", SYS_rename, First::text, Bytes::none},
    Known{"prctl", SYS_prctl, First::other, Bytes::none},
    Known{"kill", SYS_kill, First::other, Bytes::none},
    Known{"pidfd_send_signal", SYS_pidfd_send_signal, First::other, Bytes::none},
    Known{"any", -2, First::other, Bytes::none},
};

const Known* known(long number) {
  const auto at =
      std::find_if(kKnown.begin(), kKnown.end(), [&](const Known& k) { return k.number == number; });
  return at == kKnown.end() ? nullptr : &*at;
}

std::string memory(pid_t thread, std::uint64_t address, std::size_t size) {
  std::string bytes(std::min<std::size_t>(size, 64 << 10), '\0');
  iovec here{.iov_base = bytes.data(), .iov_len = bytes.size()};
  iovec there{.iov_base = std::bit_cast<void*>(address), .iov_len = bytes.size()};
  const ssize_t got = ::process_vm_readv(thread, &here, 1, &there, 1, 0);
  bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return bytes;
}

template <typename T>
bool fetch(pid_t thread, std::uint64_t address, T& value) {
  const std::string bytes = memory(thread, address, sizeof value);
  if (bytes.size() != sizeof value) return false;
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(&value));
  return true;
}

// What is written, or was read: the first part of a message is enough.
std::string data_of(pid_t thread, const Call& call) {
  const Known* what = known(call.number);
  if (what == nullptr || what->bytes == Bytes::none) return {};
  std::size_t most = SIZE_MAX;
  if (call.result) {
    if (*call.result <= 0) return {};
    most = static_cast<std::size_t>(*call.result);
  }
  if (what->bytes == Bytes::buffer) {
    return memory(thread, call.arguments[1], std::min<std::size_t>(most, call.arguments[2]));
  }
  msghdr message{};
  iovec part{};
  if (!fetch(thread, call.arguments[1], message) || message.msg_iovlen == 0 ||
      !fetch(thread, std::bit_cast<std::uint64_t>(message.msg_iov), part)) {
    return {};
  }
  return memory(thread, std::bit_cast<std::uint64_t>(part.iov_base), std::min(most, part.iov_len));
}

std::vector<pid_t> numbers_in(const std::string& folder) {
  std::vector<pid_t> found;
  DIR* list = ::opendir(folder.c_str());
  if (list == nullptr) return found;
  while (const dirent* entry = ::readdir(list)) {
    if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9') found.push_back(std::atoi(entry->d_name));
  }
  ::closedir(list);
  return found;
}

[[noreturn]] void refuse(const std::string& text) {
  std::fprintf(stderr, "stop_at: not a moment: %s\n", text.c_str());
  std::exit(2);
}

}  // namespace

Moment Moment::parse(const std::string& text) {
  Moment moment;
  std::istringstream words(text);
  std::string word;
  for (int index = 0; std::getline(words, word, ':'); ++index) {
    const auto equals = word.find('=');
    const std::string key = word.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
    if (index == 0) {
      moment.generation = std::atoi(word.c_str());
    } else if (index == 1) {
      moment.name = word;
      const auto at =
          std::find_if(kKnown.begin(), kKnown.end(), [&](const Known& k) { return word == k.name; });
      if (at != kKnown.end()) moment.number = at->number;
      if (at == kKnown.end() && word != "born" && word != "exec") refuse(text);
    } else if (word == "enter" || word == "exit") {
      moment.at_exit = word == "exit";
    } else if (key == "path") {
      moment.path = value;
    } else if (key == "data") {
      moment.data = value;
    } else if (key == "first") {
      moment.first_byte = std::atoi(value.c_str());
    } else if (key == "nth") {
      moment.times = std::atoi(value.c_str());
    } else if (key.starts_with("arg") && key.size() == 4 && key[3] < '6') {
      moment.arguments[key[3] - '0'] = std::strtoull(value.c_str(), nullptr, 0);
    } else {
      refuse(text);
    }
  }
  if (moment.name.empty()) refuse(text);
  return moment;
}

bool Moment::matches(pid_t thread, int of, const Call& call) const {
  if (is_event()) return false;
  const bool any = name == "any";
  if (of != generation || at_exit != call.result.has_value() || (!any && call.number != number)) return false;
  // An exit counts when the call did what it is for.
  if (at_exit && !any && *call.result < 0) return false;
  for (const auto& [index, value] : arguments) {
    // An int's upper half is whatever the register held.
    if (static_cast<std::uint32_t>(call.arguments[index]) != static_cast<std::uint32_t>(value)) return false;
  }
  if (!path.empty() && call.path.find(path) == std::string::npos) return false;
  if (data.empty() && !first_byte) return true;
  const std::string bytes = data_of(thread, call);
  if (first_byte && (bytes.empty() || static_cast<unsigned char>(bytes[0]) != *first_byte)) return false;
  return bytes.find(data) != std::string::npos;
}

std::string path_of(pid_t thread, const Call& call) {
  const Known* what = known(call.number);
  if (what == nullptr || what->first == First::other) return {};
  if (what->first == First::text) {
    const std::string bytes = memory(thread, call.arguments[0], 4096);
    return bytes.substr(0, bytes.find('\0'));
  }
  std::array<char, 4096> target{};
  const std::string link =
      "/proc/" + std::to_string(thread) + "/fd/" + std::to_string(int(call.arguments[0]));
  const ssize_t length = ::readlink(link.c_str(), target.data(), target.size());
  return length > 0 ? std::string(target.data(), static_cast<std::size_t>(length)) : std::string();
}

pid_t process_of(pid_t thread) {
  std::ifstream status("/proc/" + std::to_string(thread) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("Tgid:")) return std::atoi(line.c_str() + 5);
  }
  return 0;
}

std::vector<pid_t> threads_of(pid_t process) {
  return numbers_in("/proc/" + std::to_string(process) + "/task");
}

std::vector<pid_t> children_of(pid_t process) {
  std::vector<pid_t> found;
  for (const pid_t thread : threads_of(process)) {
    std::ifstream file("/proc/" + std::to_string(process) + "/task/" + std::to_string(thread) + "/children");
    for (pid_t child = 0; file >> child;) found.push_back(child);
  }
  return found;
}

}  // namespace ebb::faults
