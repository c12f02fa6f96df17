// The words of a text counted, as a pipeline and by hand. words_bench ebb|plain FILE: the number of words,
// and of different ones.

#include <ebb/flow.h>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace {

// Runs of ASCII letters, in lower case.
void cut_into_words(const std::string& line, auto&& emit) {
  std::string word;
  for (const char c : line) {
    const auto lower = static_cast<unsigned char>(c | 0x20);
    if (lower >= 'a' && lower <= 'z') {
      word += static_cast<char>(lower);
    } else if (!word.empty()) {
      emit(std::exchange(word, {}));
    }
  }
  if (!word.empty()) emit(std::move(word));
}

void say(std::uint64_t words, std::size_t different) {
  std::printf("%llu %zu\n", static_cast<unsigned long long>(words), different);
}

// As examples/word_count has it.
void as_pipeline(const std::string& path) {
  ebb::LocalEnvironment env("words");
  auto counted =
      env.from_lines(path)
          .flat_map<std::string>([](const std::string& line, auto& emit) { cut_into_words(line, emit); })
          .key_by([](const std::string& word) { return word; })
          .parallelism(2)
          .reduce(std::uint64_t{0}, [](std::uint64_t& count, const std::string&) { ++count; })
          .collect();
  const ebb::PipelineReport report = env.submit({.autostop = true});
  std::uint64_t words = 0;
  for (const auto& [word, count] : counted.get()) words += count;
  say(words, counted.get().size());
}

void by_hand(const std::string& path) {
  std::ifstream file(path);
  std::unordered_map<std::string, std::uint64_t> counts;
  std::uint64_t words = 0;
  for (std::string line; std::getline(file, line);) {
    cut_into_words(line, [&](std::string word) {
      ++counts[std::move(word)];
      ++words;
    });
  }
  say(words, counts.size());
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view how = argc == 3 ? argv[1] : "";
  if (how != "ebb" && how != "plain") {
    std::fputs("usage: words_bench ebb|plain FILE\n", stderr);
    return 2;
  }
  try {
    how == "ebb" ? as_pipeline(argv[2]) : by_hand(argv[2]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "words_bench: %s\n", error.what());
    return 1;
  }
}
