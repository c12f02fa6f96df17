// What the thread sanitizer has to know of exceptions that two threads have: cmake/sanitizer_options.c tells
// it.
#include <gtest/gtest.h>

#include <atomic>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace ebb {
namespace {

std::string text_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::runtime_error& caught) {
    return caught.what();
  }
}

// Without an order between them but that of the exception's own count.
void let_go_in_turn(std::exception_ptr first, std::exception_ptr last) {
  std::atomic<bool> gone{false};
  std::jthread other([&gone, error = std::move(last)]() mutable {
    while (!gone.load(std::memory_order_relaxed)) std::this_thread::yield();
    error = nullptr;
  });
  EXPECT_EQ(text_of(first), "no");
  first = nullptr;
  gone.store(true, std::memory_order_relaxed);
}

TEST(Exceptions, GoWithTheLastThreadThatHasThem) {
  std::exception_ptr one = std::make_exception_ptr(std::runtime_error("no"));
  std::exception_ptr other = one;
  let_go_in_turn(std::move(one), std::move(other));
}

TEST(Exceptions, GoWithAHandlerThatIsTheLastToHaveThem) {
  std::atomic<bool> gone{false};
  std::exception_ptr error;
  std::atomic<bool> thrown{false};
  std::jthread other([&] {
    try {
      throw std::runtime_error("no");
    } catch (...) {
      error = std::current_exception();
      thrown.store(true, std::memory_order_release);
      while (!gone.load(std::memory_order_relaxed)) std::this_thread::yield();
    }
  });
  while (!thrown.load(std::memory_order_acquire)) std::this_thread::yield();
  EXPECT_EQ(text_of(error), "no");
  error = nullptr;
  gone.store(true, std::memory_order_relaxed);
}

}  // namespace
}  // namespace ebb
