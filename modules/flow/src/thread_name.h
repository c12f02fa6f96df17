#pragma once

#include <pthread.h>

#include <string>

namespace ebb::flow {

/// What ps and debuggers call this thread.
inline void name_thread(const std::string& name) {
  constexpr std::size_t kLongest = 15;  // the kernel's
  ::pthread_setname_np(::pthread_self(), name.substr(0, kLongest).c_str());
}

}  // namespace ebb::flow
