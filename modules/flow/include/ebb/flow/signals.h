#pragma once

namespace ebb {

class LocalEnvironment;

/// From now on, as long as this environment lives, SIGINT and SIGTERM end its pipeline: the first is a
/// stop(), after which submit() returns a report with Outcome::stopped, the second a cancel(), and the third
/// ends the process as if nobody had asked for it. Those that came before submit() count. A signal that the
/// process ignores is still ignored. Several environments may ask for it; when the last of them is gone, what
/// was there before is restored. Throws std::system_error.
void stop_on_signals(LocalEnvironment& environment);

}  // namespace ebb
