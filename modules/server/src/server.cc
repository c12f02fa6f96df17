#include "ebb/server/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "core.h"

namespace ebb::server {
namespace {

namespace asio = boost::asio;

std::string ip_text(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr, text, sizeof text);
  } else if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&v6)) {
      ::inet_ntop(AF_INET, &v6.s6_addr[12], text, sizeof text);
    } else {
      ::inet_ntop(AF_INET6, &v6, text, sizeof text);
    }
  }
  return text;
}

template <typename Get>
std::string name_of(Get get, int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (get(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
  return ip_text(address);
}

// A peer that is gone without a word (power cut, lost network) is noticed within about 25 s.
void keep_alive(int fd) {
  const auto set = [fd](int level, int option, int value) {
    (void)::setsockopt(fd, level, option, &value, sizeof value);
  };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 10);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(IPPROTO_TCP, TCP_NODELAY, 1);
}

// Accepts from one listening socket until it is closed.
class Acceptor {
 public:
  Acceptor(Core& core, UniqueFd fd, bool over_socket)
      : core_(core), listener_(core.io(), fd.release()), pause_(core.io()), over_socket_(over_socket) {
    wait();
  }
  void close() {
    boost::system::error_code ignored;
    listener_.close(ignored);
    pause_.cancel();
  }
  [[nodiscard]] int fd() { return listener_.native_handle(); }

 private:
  void wait() {
    listener_.async_wait(asio::posix::stream_descriptor::wait_read,
                         [this](const boost::system::error_code& failure) {
                           if (failure) return;
                           if (take_all()) {
                             wait();
                           } else {
                             later();
                           }
                         });
  }
  // Out of descriptors or memory: those that wait stay in the kernel's queue until something was given back.
  void later() {
    pause_.expires_after(std::chrono::milliseconds(100));
    pause_.async_wait([this](const boost::system::error_code& failure) {
      if (!failure) wait();
    });
  }
  // At most so many in a row, so that a flood of connections does not starve those that are there.
  bool take_all() {
    constexpr int kBatch = 64;
    for (int i = 0; i < kBatch; ++i) {
      UniqueFd fd(::accept4(listener_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!fd) return errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM;
      take(std::move(fd));
    }
    return true;
  }
  void take(UniqueFd fd) {
    Remote remote{.over_socket = over_socket_, .peer = {}, .address = {}, .local_address = {}};
    if (over_socket_) {
      auto peer = process::peer_credentials(fd.get());
      if (peer) {
        remote.peer = std::make_shared<const process::PeerCredentials>(std::move(*peer));
      } else {
        spdlog::debug("a peer cannot be identified: {}", peer.error().message);
      }
    } else {
      keep_alive(fd.get());
      remote.address = name_of(::getpeername, fd.get());
      remote.local_address = name_of(::getsockname, fd.get());
      remote.loopback = remote.address == "::1" || remote.address.starts_with("127.");
    }
    const int family = over_socket_ ? AF_UNIX : AF_INET;
    Socket socket(core_.io());
    boost::system::error_code failure;
    socket.assign(asio::generic::stream_protocol(family, 0), fd.get(), failure);
    if (failure) return;
    (void)fd.release();
    (void)core_.accept(std::move(socket), std::move(remote));
  }

  Core& core_;
  asio::posix::stream_descriptor listener_;
  asio::steady_timer pause_;
  bool over_socket_;
};

}  // namespace

class Server::Impl {
 public:
  Impl(asio::io_context& io, daemon::Daemon& daemon, UniqueFd unix_socket, UniqueFd tcp)
      : core_(io, daemon),
        path_(daemon.config().server.socket),
        place_(daemon::socket_place(daemon.config())) {
    struct stat found{};
    if (::stat(path_.c_str(), &found) == 0) inode_ = found.st_ino;
    unix_.emplace(core_, std::move(unix_socket), true);
    if (tcp) {
      sockaddr_storage address{};
      socklen_t size = sizeof address;
      ::getsockname(tcp.get(), reinterpret_cast<sockaddr*>(&address), &size);
      const std::string ip = ip_text(address);
      const bool v6 = address.ss_family == AF_INET6;
      const auto port = v6 ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                           : reinterpret_cast<const sockaddr_in&>(address).sin_port;
      url_ = "http://" + (v6 ? "[" + ip + "]" : ip) + ":" + std::to_string(ntohs(port));
      tcp_.emplace(core_, std::move(tcp), false);
    }
  }
  ~Impl() { stop_listening(); }

  [[nodiscard]] std::vector<std::string> addresses() const {
    std::vector<std::string> all{path_.native()};
    if (!url_.empty()) all.push_back(url_);
    return all;
  }
  void stop_listening() {
    if (!listening_) return;
    listening_ = false;
    struct stat found{};
    // Only our own file: another daemon may have taken the path over.
    if (::stat(path_.c_str(), &found) == 0 && found.st_ino == inode_) {
      ::unlink(place_.c_str());
      if (place_ != path_) ::unlink(path_.c_str());
    }
    unix_->close();
    if (tcp_) tcp_->close();
  }
  Core& core() { return core_; }

 private:
  Core core_;
  std::filesystem::path path_, place_;
  ino_t inode_ = 0;
  std::string url_;
  bool listening_ = true;
  std::optional<Acceptor> unix_;
  std::optional<Acceptor> tcp_;
};

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::start(asio::io_context& io, daemon::Daemon& daemon,
                                              UniqueFd unix_socket, UniqueFd tcp) {
  auto impl = std::make_unique<Impl>(io, daemon, std::move(unix_socket), std::move(tcp));
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

std::vector<std::string> Server::addresses() const { return impl_->addresses(); }
Task<bool> Server::finish(Duration grace) {
  impl_->stop_listening();
  co_return co_await impl_->core().finish(grace);
}

}  // namespace ebb::server
