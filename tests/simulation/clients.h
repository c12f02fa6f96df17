#pragma once

#include <optional>
#include <vector>

#include "ebb/engine/types.h"
#include "ebb/model/job.h"
#include "scheduler.h"

namespace ebb::simulation {

struct World;

/// What a client submits, and how that program behaves.
struct Program {
  engine::Demand demand;
  int priority = 0;
  std::string user;
  Duration grace{};
  std::optional<Duration> time, owner_lease;
  bool waits_for_ready = false, gets_ready = true;
  Duration runs{}, obeys_in{};
  model::Exit exit;
  bool hangs = false;  ///< it never exits by itself
  bool ignores_term = false, has_children = false, fails_to_start = false;
  bool stuck = false;  ///< a process of it outlives every kill, until then:
  Duration unstuck_before{};
};

/// Those who submit, each one job; over a network that delays, loses and doubles.
class Clients {
 public:
  explicit Clients(World& world);

  [[nodiscard]] const Program& program(int client) const { return at(client).program; }
  [[nodiscard]] bool has_key(int client) const { return at(client).has_key; }
  [[nodiscard]] bool is_local(int client) const { return at(client).local; }
  [[nodiscard]] bool owner_is_gone(int job) const;

  void happen(const Happening& happening);
  /// The daemon's answer to a submission; -1: refused, for now.
  void answer(int client, int job);
  void daemon_dies();
  void calm();
  /// Whether everybody has what they want: an answer, or no hope for one.
  [[nodiscard]] bool content() const;

 private:
  enum class Act : std::int32_t { cancel, connect, drop, suspend, resume, hang, notice, exit, disown, hurry };
  struct Client {
    Program program;
    bool has_key = false;
    bool local = false;  ///< over the socket: the daemon and the keeper can watch its process
    bool gone = false;   ///< its process has exited
    bool given_up = false;
    int job = -1;  ///< that it was told
    bool connected = false;
    Moment seen{};  ///< its last sign of life on the owner's stream
  };
  [[nodiscard]] const Client& at(int client) const { return clients_[static_cast<std::size_t>(client)]; }
  [[nodiscard]] Client& at(int client) { return clients_[static_cast<std::size_t>(client)]; }
  [[nodiscard]] Program draw();
  void send(int client);
  void told(int client, int job);
  void act(int client, Act act);
  void plan(int client, Duration wait, Act act);

  World& world_;
  std::vector<Client> clients_;
};

}  // namespace ebb::simulation
