// The most frequent words of a text.
//
//     word_count [FILE]        default: a licence that every Debian has
//
// A pipeline from beginning to end: a source, an operator that makes several records of one, a key, and a
// value for each key. The chain compiles to two loops: one thread reads and cuts, and each of two others
// counts the half of the words that is its own, so that no count needs a lock.

#include <ebb/flow.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <exception>
#include <iomanip>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

namespace {

// Words are runs of ASCII letters; The and the are one.
void cut_into_words(const std::string& line, auto& emit) {
  std::string word;
  for (const char c : line + ' ') {
    if (std::isalpha(static_cast<unsigned char>(c)) != 0) {
      word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    } else if (!word.empty()) {
      emit(std::exchange(word, {}));
    }
  }
}

void count_words(const std::string& path) {
  ebb::LocalEnvironment env("word_count");
  auto counted =
      env.from_lines(path)
          .name("lines")
          .flat_map<std::string>([](const std::string& line, auto& emit) { cut_into_words(line, emit); })
          .name("words")
          .key_by([](const std::string& word) { return word; })
          .parallelism(2)
          .reduce(std::uint64_t{0}, [](std::uint64_t& count, const std::string&) { ++count; })
          .name("count")
          .collect();
  const ebb::PipelineReport report = env.submit({.autostop = true});

  std::vector<std::pair<std::string, std::uint64_t>> words = counted.get();
  const auto shown = words.begin() + std::min<std::ptrdiff_t>(20, std::ssize(words));
  std::partial_sort(words.begin(), shown, words.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  for (auto word = words.begin(); word != shown; ++word) {
    std::cout << std::setw(8) << word->second << "  " << word->first << '\n';
  }
  std::cout << words.size() << " different words\n" << report;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    count_words(argc > 1 ? argv[1] : "/usr/share/common-licenses/GPL-3");
  } catch (const std::exception& error) {
    std::cerr << "word_count: " << error.what() << '\n';
    return 1;
  }
}
