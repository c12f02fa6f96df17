// The table of an operator's states, by keys.
#include "ebb/flow/runtime/key_table.h"

#include <gmock/gmock.h>

#include <memory>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <unordered_map>

namespace ebb::flow {
namespace {

using ::testing::ElementsAre;

template <typename K>
std::uint64_t hash_of(const K& key) {
  return KeyHash<K>()(key);
}

TEST(KeyTable, IsEmptyAtFirst) {
  KeyTable<int, int> table;
  EXPECT_EQ(table.size(), 0U);
  EXPECT_EQ(table.bytes(), 0U);
  EXPECT_EQ(table.find(hash_of(1), 1), nullptr);
  EXPECT_EQ(table.begin(), table.end());
}

TEST(KeyTable, HasKeysInTheOrderInWhichTheyCame) {
  KeyTable<std::string, int> table;
  for (const char* key : {"c", "a", "b", "a"}) {
    ++*table.try_emplace(hash_of(std::string(key)), key, 0).first;
  }
  std::vector<std::pair<std::string, int>> found;
  for (const auto& [key, value] : table) found.emplace_back(key, value);
  EXPECT_THAT(found, ElementsAre(std::pair("c", 1), std::pair("a", 2), std::pair("b", 1)));
}

// Against the standard's, whatever is done to it. `Bits`: how many different hashes there are, so that the
// entries of many keys stand in each other's way.
template <int Bits>
struct CrowdedKey {
  std::uint32_t number = 0;
  bool operator==(const CrowdedKey&) const = default;
};
template <int Bits>
std::uint64_t crowded(std::uint32_t number) {
  return std::uint64_t{number} << (64 - Bits);
}

}  // namespace
}  // namespace ebb::flow

template <int Bits>
struct ebb::KeyHash<ebb::flow::CrowdedKey<Bits>> {
  std::uint64_t operator()(const flow::CrowdedKey<Bits>& key) const noexcept {
    return flow::crowded<Bits>(key.number);
  }
};

namespace ebb::flow {
namespace {

template <int Bits>
void check_against_the_standards(std::uint32_t keys) {
  using Key = CrowdedKey<Bits>;
  KeyTable<Key, std::string> table;
  std::unordered_map<std::uint32_t, std::string> model;
  std::mt19937 random(Bits);
  for (int step = 0; step < 30'000; ++step) {
    const auto number = static_cast<std::uint32_t>(random() % keys);
    const Key key{number};
    switch (random() % (step % 1000 == 0 ? 4 : 3)) {
      case 0: {
        const std::string value = std::to_string(step);
        const auto [place, is_new] = table.try_emplace(hash_of(key), key, value);
        const auto [expected, was_new] = model.try_emplace(number, value);
        ASSERT_EQ(is_new, was_new);
        ASSERT_EQ(*place, expected->second);
        break;
      }
      case 1: {
        const std::string* found = table.find(hash_of(key), key);
        const auto expected = model.find(number);
        ASSERT_EQ(found != nullptr, expected != model.end());
        ASSERT_TRUE(found == nullptr || *found == expected->second);
        break;
      }
      case 2:
        if (model.erase(number) > 0) table.erase(hash_of(key), key);
        break;
      default: {
        const auto odd = [](std::uint32_t one) { return one % 2 == 1; };
        table.erase_if([&](const auto& entry) { return odd(entry.key.number); });
        std::erase_if(model, [&](const auto& entry) { return odd(entry.first); });
        break;
      }
    }
    ASSERT_EQ(table.size(), model.size());
  }
  std::size_t seen = 0;
  for (const auto& [key, value] : table) {
    ++seen;
    ASSERT_EQ(value, model.at(key.number));
  }
  EXPECT_EQ(seen, model.size());
  table.clear();
  EXPECT_EQ(table.find(hash_of(Key{1}), Key{1}), nullptr);
}

TEST(KeyTable, IsLikeTheStandards) { check_against_the_standards<32>(4000); }
TEST(KeyTable, IsLikeTheStandardsWhereKeysStandInEachOthersWay) { check_against_the_standards<8>(300); }
TEST(KeyTable, IsLikeTheStandardsWhereAllHashesAreEqual) { check_against_the_standards<1>(60); }

struct Fragile {
  explicit Fragile(bool breaks) : breaks_(breaks) {}
  Fragile(const Fragile& from) : breaks_(from.breaks_) {
    if (breaks_) throw std::runtime_error("cannot be copied");
  }
  Fragile(Fragile&&) noexcept = default;
  Fragile& operator=(const Fragile&) = delete;
  Fragile& operator=(Fragile&&) = delete;
  ~Fragile() = default;

 private:
  bool breaks_;
};

TEST(KeyTable, HasNotChangedWhenAConstructorThrows) {
  KeyTable<int, Fragile> table;
  const Fragile whole(false), breaks(true);
  for (int key = 0; key < 100; ++key) {
    EXPECT_THROW(table.try_emplace(hash_of(key), key, breaks), std::runtime_error);
    EXPECT_EQ(table.find(hash_of(key), key), nullptr);
    EXPECT_TRUE(table.try_emplace(hash_of(key), key, whole).second);
    EXPECT_FALSE(table.try_emplace(hash_of(key), key, breaks).second) << "then it needs no value";
  }
  EXPECT_EQ(table.size(), 100U);
}

// As a state with a lambda in it.
TEST(KeyTable, ErasesValuesThatCannotBeAssigned) {
  KeyTable<int, Fragile> table;
  for (int key = 0; key < 3; ++key) table.try_emplace(hash_of(key), key, Fragile(false));
  table.erase(hash_of(0), 0);
  EXPECT_EQ(table.find(hash_of(0), 0), nullptr);
  EXPECT_NE(table.find(hash_of(1), 1), nullptr);
  EXPECT_NE(table.find(hash_of(2), 2), nullptr);
}

TEST(KeyTable, HoldsWhatCanOnlyBeMoved) {
  KeyTable<int, std::unique_ptr<int>> table;
  for (int key = 0; key < 100; ++key) table.try_emplace(hash_of(key), key, std::make_unique<int>(key));
  KeyTable<int, std::unique_ptr<int>> moved = std::move(table);
  for (int key = 0; key < 100; ++key) EXPECT_EQ(**moved.find(hash_of(key), key), key);
}

struct Counted {
  std::uint64_t number = 0;
  bool operator==(const Counted&) const = default;
  [[nodiscard]] std::uint64_t key_hash() const { return number; }
};

// A type's own hash may be as simple as a number: the upper half finds its state, the lower its replica.
TEST(KeyHash, MixesWhatATypeSaysOfItself) {
  std::set<std::uint64_t> upper, lower;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    upper.insert(hash_of(Counted{i}) >> 56);
    lower.insert(hash_of(Counted{i}) >> 24 & 0xff);
  }
  EXPECT_GT(upper.size(), 200U);
  EXPECT_GT(lower.size(), 200U);
}

}  // namespace
}  // namespace ebb::flow
