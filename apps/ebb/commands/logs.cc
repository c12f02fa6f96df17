#include <unistd.h>

#include "commands.h"
#include "ebb/base/files.h"
#include "server_option.h"

namespace ebb::cli {
namespace {

// Passes a job's output on, each stream to its own descriptor; remembers where to go on.
class Printer {
 public:
  Result<bool> take(const model::LogFrame& frame) {
    using Kind = model::LogFrame::Kind;
    switch (frame.kind) {
      case Kind::out:
      case Kind::err:
        next_ = frame.offset + frame.data.size();
        if (auto written = write_all(frame.kind == Kind::out ? STDOUT_FILENO : STDERR_FILENO, frame.data);
            !written) {
          return written.error();
        }
        return true;
      case Kind::gap:
        say(frame.data + " bytes of output are missing here");
        return true;
      case Kind::end:
        ended_ = true;
        return false;
    }
    return true;
  }

  [[nodiscard]] std::optional<std::uint64_t> next() const noexcept { return next_; }
  [[nodiscard]] bool ended() const noexcept { return ended_; }

 private:
  std::optional<std::uint64_t> next_;
  bool ended_ = false;
};

}  // namespace

int logs_main(Words words) {
  Parser parser("logs", "A job's output: both streams in order of arrival, each to its own",
                "ebb logs -f last");
  const ServerOption server(parser);
  std::string word;
  bool follow = false, out_only = false, err_only = false, path = false;
  std::int64_t tail = -1;
  parser.add_option("ID", word, "the job: id, unique prefix, or 'last'")->required();
  parser.add_flag("-f,--follow", follow, "go on until the job has ended");
  auto* out_flag = parser.add_flag("--stdout", out_only, "only its stdout");
  parser.add_flag("--stderr", err_only, "only its stderr")->excludes(out_flag);
  parser.add_option("--tail", tail, "begin so many lines before the end")->check(CLI::NonNegativeNumber);
  parser.add_flag("--path", path, "print where the daemon keeps the log");
  if (const auto status = parser.read(std::move(words))) return *status;
  auto client = server.connect();
  if (!client) return fail(client.error());
  const auto id = client::resolve_job(*client, word);
  if (!id) return fail(id.error());

  const std::string target = "/v1/jobs/" + *id + "/logs";
  if (path) {
    auto response = client->send({.target = target + "?tail=0"});
    if (!response) return fail(client::with_near_misses(*client, response.error(), *id));
    return print(response->log_path + '\n');
  }
  std::string query = out_only ? "?stream=stdout" : err_only ? "?stream=stderr" : "?stream=both";
  if (follow) query += "&follow=1";
  std::string start = tail >= 0 ? "&tail=" + std::to_string(tail) : "";
  Printer printer;
  while (true) {
    const auto read =
        client->frames({.target = target + query + start, .accept = std::string(model::kLogFramesType)},
                       [&printer](const model::LogFrame& frame) { return printer.take(frame); });
    if (printer.ended() || read) return kDone;
    // Broken in the middle: go on at the same byte. A daemon that is gone ends the command.
    if (read.error().code != Errc::unavailable || read.error().type == client::kNoDaemonType) {
      return fail(client::with_near_misses(*client, read.error(), *id));
    }
    if (printer.next()) start = "&offset=" + std::to_string(*printer.next());
  }
}

}  // namespace ebb::cli
