#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "ebb/flow/key.h"

namespace ebb::flow {

/// Finds the entries of a KeyTable by the upper half of their hashes: open addressing with linear probing,
/// half full at most. (The lower half has chosen the replica.)
class KeyIndex {
 public:
  using Tag = std::uint32_t;
  static constexpr std::uint32_t kNone = UINT32_MAX;

  [[nodiscard]] static Tag tag_of(std::uint64_t hash) noexcept { return static_cast<Tag>(hash >> 32); }

  /// The first entry with this tag for which `is_it(entry)` holds, or kNone.
  template <typename IsIt>
  [[nodiscard]] std::uint32_t find(Tag tag, IsIt&& is_it) const {
    for (std::size_t at = tag >> shift_;; at = (at + 1) & mask_) {
      const Place& place = places_[at];
      if (place.entry == kNone) return kNone;
      if (place.tag == tag && is_it(place.entry)) return place.entry;
    }
  }
  /// Room for one more than `entries`. Throws std::bad_alloc or std::length_error; nothing has changed then.
  void reserve(std::size_t entries) {
    if (2 * entries >= places_.size()) [[unlikely]]
      grow();
  }
  /// Of an entry that is not in it, for which there is room.
  void add(Tag tag, std::uint32_t entry) noexcept;
  void remove(Tag tag, std::uint32_t entry) noexcept;
  /// The entry stands in another place of its table.
  void rename(Tag tag, std::uint32_t from, std::uint32_t to) noexcept;
  void clear() noexcept;

 private:
  struct Place {
    Tag tag = 0;
    std::uint32_t entry = kNone;
  };

  void grow();
  [[nodiscard]] std::size_t place_of(Tag tag, std::uint32_t entry) const noexcept;

  std::vector<Place> places_ = std::vector<Place>(16);
  std::size_t mask_ = 15;
  unsigned shift_ = 28;  // a place's number is that many bits shorter than a tag
};

/// A value for each key, in the order in which the keys came until one is erased. References to the values
/// hold until a key is added or erased. The caller brings KeyHash<K> of the key, which a KeyedRecord has with
/// it.
template <typename K, typename V>
class KeyTable {
 public:
  struct Entry {
    K key;
    V value;
  };

  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
  /// Of its entries.
  [[nodiscard]] std::uint64_t bytes() const noexcept { return entries_.size() * sizeof(Entry); }
  auto begin() noexcept { return entries_.begin(); }
  auto end() noexcept { return entries_.end(); }
  void clear() noexcept {
    index_.clear();
    entries_.clear();
  }

  /// Null where it has none.
  [[nodiscard]] V* find(std::uint64_t hash, const K& key) {
    const std::uint32_t entry = place(hash, key);
    return entry == KeyIndex::kNone ? nullptr : &entries_[entry].value;
  }
  /// The key's value, made from `value` where it has none yet; and whether it had none. When a constructor
  /// throws, nothing has changed.
  template <typename From>
  std::pair<V*, bool> try_emplace(std::uint64_t hash, const K& key, From&& value) {
    if (V* found = find(hash, key)) return {found, false};
    index_.reserve(entries_.size());
    entries_.push_back(Entry{key, V(std::forward<From>(value))});
    index_.add(KeyIndex::tag_of(hash), static_cast<std::uint32_t>(entries_.size() - 1));
    return {&entries_.back().value, true};
  }
  /// Of a key that it has. The last entry takes its place.
  void erase(std::uint64_t hash, const K& key) { erase_at(place(hash, key), KeyIndex::tag_of(hash)); }
  /// Those of which `over(entry)` holds.
  template <typename Over>
  void erase_if(Over&& over) {
    for (auto at = static_cast<std::uint32_t>(entries_.size()); at-- > 0;) {
      if (over(std::as_const(entries_[at]))) erase_at(at, tag_at(at));
    }
  }

 private:
  [[nodiscard]] std::uint32_t place(std::uint64_t hash, const K& key) const {
    return index_.find(KeyIndex::tag_of(hash),
                       [&](std::uint32_t entry) { return entries_[entry].key == key; });
  }
  [[nodiscard]] KeyIndex::Tag tag_at(std::uint32_t entry) const {
    return KeyIndex::tag_of(KeyHash<K>()(entries_[entry].key));
  }
  void erase_at(std::uint32_t entry, KeyIndex::Tag tag) {
    const auto last = static_cast<std::uint32_t>(entries_.size() - 1);
    const KeyIndex::Tag moved = tag_at(last);
    if (entry != last) put(entries_[entry], std::move(entries_[last]));
    index_.remove(tag, entry);
    if (entry != last) index_.rename(moved, last, entry);
    entries_.pop_back();
  }
  // States need not be assignable: one may hold a lambda.
  static void put(Entry& to, Entry&& from) {
    if constexpr (std::is_move_assignable_v<Entry>) {
      to = std::move(from);
    } else {
      static_assert(
          std::is_nothrow_move_constructible_v<Entry>,
          "ebb: a key or a state that cannot be assigned needs a move constructor that is noexcept");
      std::destroy_at(&to);
      std::construct_at(&to, std::move(from));
    }
  }

  KeyIndex index_;
  std::vector<Entry> entries_;
};

}  // namespace ebb::flow
