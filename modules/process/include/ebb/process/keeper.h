#pragma once

#include <span>

#include "ebb/base/unique_fd.h"

namespace ebb::process {

/// The body of the program ebb-keeper: runs one attempt to its end and returns its exit status. `argv` is as
/// start_keeper() passes it: program, label, descriptor numbers. To be called once, in a process of its own
/// with one thread; it changes signal dispositions, forks and opens namespaces.
///
/// Its states (each an alternative of a variant, with the data that exists only then):
///   Starting     the leader's start is under way
///   Running      the leader lives
///   Terminating  every process got TERM and CONT; waits for emptiness, at most the grace period
///   Killing      everything was killed; waits for emptiness, at most the kill timeout
///   Stuck        survivors were declared; waits for emptiness without limit
///   Ended        the tree is gone and the record written; waits for Ack, or exits
[[nodiscard]] int keeper_main(std::span<char*> argv) noexcept;

}  // namespace ebb::process
