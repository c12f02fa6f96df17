#include "ebb/flow/runtime/key_table.h"

#include <algorithm>
#include <stdexcept>

namespace ebb::flow {

void KeyIndex::add(Tag tag, std::uint32_t entry) noexcept {
  std::size_t at = tag >> shift_;
  while (places_[at].entry != kNone) at = (at + 1) & mask_;
  places_[at] = {.tag = tag, .entry = entry};
}

void KeyIndex::remove(Tag tag, std::uint32_t entry) noexcept {
  std::size_t hole = place_of(tag, entry);
  // Those behind it move up, as far as each may: nobody is then looked for across an empty place.
  for (std::size_t at = (hole + 1) & mask_; places_[at].entry != kNone; at = (at + 1) & mask_) {
    const std::size_t wanted = places_[at].tag >> shift_;
    if (((at - wanted) & mask_) < ((at - hole) & mask_)) continue;
    places_[hole] = places_[at];
    hole = at;
  }
  places_[hole] = {};
}

void KeyIndex::rename(Tag tag, std::uint32_t from, std::uint32_t to) noexcept {
  places_[place_of(tag, from)].entry = to;
}

void KeyIndex::clear() noexcept { std::ranges::fill(places_, Place()); }

std::size_t KeyIndex::place_of(Tag tag, std::uint32_t entry) const noexcept {
  std::size_t at = tag >> shift_;
  while (places_[at].entry != entry) at = (at + 1) & mask_;
  return at;
}

void KeyIndex::grow() {
  // Then a tag says no more in which place to look, and an entry's number is kNone.
  if (shift_ == 0) throw std::length_error("a state of more than two thousand million keys");
  std::vector<Place> before(2 * places_.size());
  before.swap(places_);
  mask_ = places_.size() - 1;
  --shift_;
  for (const Place& place : before) {
    if (place.entry != kNone) add(place.tag, place.entry);
  }
}

}  // namespace ebb::flow
