#pragma once

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "ebb/base/clock.h"

/// Typed state of process(): what an operator keeps for each key. Any type can be it; these three say when it
/// is over.
namespace ebb {

namespace flow {

/// Forgets what was not written for so long; for ever unless told otherwise.
class Expiry {
 public:
  void after(Duration limit) noexcept { limit_ = limit; }
  void written() noexcept {
    if (limit_) until_ = BootClock::now() + *limit_;
  }
  [[nodiscard]] bool over() const noexcept { return limit_ && BootClock::now() >= until_; }

 private:
  std::optional<Duration> limit_;
  BootTime until_ = BootTime::max();
};

}  // namespace flow

/// One value, or none.
template <typename T>
class ValueState {
 public:
  /// Not written for that long (in real time), it is none.
  ValueState ttl(Duration limit) && {
    expiry_.after(limit);
    return std::move(*this);
  }
  /// Null where there is none. What it points to may be changed; only set() counts as writing.
  [[nodiscard]] T* get() noexcept { return empty() ? nullptr : &*value_; }
  [[nodiscard]] T value_or(T otherwise) const { return empty() ? std::move(otherwise) : *value_; }
  T& set(T value) {
    expiry_.written();
    return value_.emplace(std::move(value));
  }
  void clear() noexcept { value_.reset(); }
  [[nodiscard]] bool empty() const noexcept { return !value_ || expiry_.over(); }

 private:
  flow::Expiry expiry_;
  std::optional<T> value_;
};

/// Values in the order in which they were added.
template <typename T>
class ListState {
 public:
  /// Not added to for that long, all of it is gone.
  ListState ttl(Duration limit) && {
    expiry_.after(limit);
    return std::move(*this);
  }
  [[nodiscard]] const std::vector<T>& get() {
    if (expiry_.over()) values_.clear();
    return values_;
  }
  void add(T value) {
    if (expiry_.over()) values_.clear();
    expiry_.written();
    values_.push_back(std::move(value));
  }
  void clear() noexcept { values_.clear(); }
  [[nodiscard]] bool empty() const noexcept { return values_.empty() || expiry_.over(); }

 private:
  flow::Expiry expiry_;
  std::vector<T> values_;
};

/// Values by a key of their own, within the state of a key.
template <typename K, typename V>
class MapState {
 public:
  /// Not written for that long, an entry is gone.
  MapState ttl(Duration limit) && {
    limit_ = limit;
    return std::move(*this);
  }
  /// Null where there is none. Valid until the next set() or erase().
  [[nodiscard]] V* get(const K& key) {
    const auto found = entries_.find(key);
    if (found == entries_.end() || found->second.expiry.over()) return nullptr;
    return &found->second.value;
  }
  V& set(const K& key, V value) {
    if (entries_.size() >= sweep_at_) sweep();
    Entry entry{.expiry = {}, .value = std::move(value)};
    if (limit_) entry.expiry.after(*limit_);
    entry.expiry.written();
    return entries_.insert_or_assign(key, std::move(entry)).first->second.value;
  }
  void erase(const K& key) { entries_.erase(key); }
  void clear() noexcept { entries_.clear(); }
  /// Calls `each(key, value)` in the order of the keys.
  template <typename Each>
  void for_each(Each&& each) {
    sweep();
    for (auto& [key, entry] : entries_) each(key, entry.value);
  }
  [[nodiscard]] bool empty() const {
    for (const auto& [key, entry] : entries_) {
      if (!entry.expiry.over()) return false;
    }
    return true;
  }

 private:
  struct Entry {
    flow::Expiry expiry;
    V value;
  };
  // Often enough that not more than half of it is what nobody can see.
  void sweep() {
    if (limit_) std::erase_if(entries_, [](const auto& one) { return one.second.expiry.over(); });
    sweep_at_ = 2 * entries_.size() + 16;
  }

  std::optional<Duration> limit_;
  std::map<K, Entry> entries_;
  std::size_t sweep_at_ = 16;
};

/// The state of the key whose record is being processed: the second argument of process()'s functions. It
/// begins as a copy of what process() was given, or as an S{}.
template <typename S>
class Keyed {
 public:
  explicit Keyed(S& state) : state_(&state) {}
  [[nodiscard]] S& operator*() const noexcept { return *state_; }
  [[nodiscard]] S* operator->() const noexcept { return state_; }
  /// Once the function has returned, the key has no state: its next record begins anew.
  void clear() noexcept { cleared_ = true; }
  [[nodiscard]] bool cleared() const noexcept { return cleared_; }

 private:
  S* state_;
  bool cleared_ = false;
};

}  // namespace ebb
