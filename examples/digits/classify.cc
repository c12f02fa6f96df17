// Reads handwritten digits with the weights that train.py has learned, and says how often it is right.
//
//     train.py save=digits …; classify [FOLDER]        default: digits
//
// The network is a service: it is made once, read by setup() before the first image, called by two replicas
// of an operator at the same time, and cleaned after the last. The report says so.

#include <ebb/flow.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <exception>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

struct Image {
  std::array<double, 64> pixels{};  // 8 × 8 brightnesses from 0 to 1
  int label = 0;
};

// 64 brightnesses from 0 to 16 and the label, separated by commas.
Image parse(const std::string& line) {
  std::istringstream row(line);
  Image image;
  char comma = ',';
  for (double& pixel : image.pixels) {
    row >> pixel >> comma;
    pixel /= 16;
  }
  if (!(row >> image.label) || comma != ',') throw std::invalid_argument("no image: " + line);
  return image;
}

class Network {
 public:
  explicit Network(std::string path) : path_(std::move(path)) {}

  void setup() {
    std::ifstream file(path_);
    if (!file) throw std::runtime_error("cannot read " + path_ + "; train.py save=FOLDER writes it");
    std::size_t inputs = 0, hidden = 0, outputs = 0;
    file >> inputs >> hidden >> outputs;
    if (inputs != 64 || outputs != 10)
      throw std::runtime_error(path_ + " has no network from 64 pixels to 10 digits");
    const std::array sizes = {inputs * hidden, hidden, hidden * outputs, outputs};
    for (std::size_t layer = 0; layer < sizes.size(); ++layer) {
      weights_[layer].resize(sizes[layer]);
      for (double& weight : weights_[layer]) file >> weight;
    }
    if (!file) throw std::runtime_error(path_ + " ends early");
  }

  // Two threads may be here at once: nothing is written but the count.
  int digit_of(const Image& image) {
    ++classified_;
    std::vector<double> hidden = layer(image.pixels, weights_[0], weights_[1]);
    for (double& activation : hidden) activation = std::max(activation, 0.0);
    const std::vector<double> outputs = layer(hidden, weights_[2], weights_[3]);
    return static_cast<int>(std::max_element(outputs.begin(), outputs.end()) - outputs.begin());
  }

  void cleanup() {
    weights_ = {};
    std::cout << "the network has read " << classified_ << " images and is gone\n";
  }

 private:
  static std::vector<double> layer(const auto& in, const std::vector<double>& weights,
                                   std::vector<double> sums) {
    for (std::size_t i = 0; i < in.size(); ++i) {
      for (std::size_t j = 0; j < sums.size(); ++j) sums[j] += in[i] * weights[i * sums.size() + j];
    }
    return sums;
  }

  std::string path_;
  std::array<std::vector<double>, 4> weights_;  // of two layers, each followed by its biases
  std::atomic<int> classified_ = 0;
};

struct Score {
  int images = 0, right = 0;
};

void classify(const std::string& folder) {
  ebb::LocalEnvironment env("digits");
  auto network =
      env.register_service<Network>(ebb::service("network").concurrency(2), folder + "/weights.txt");
  auto scores =
      env.from_lines(folder + "/images.csv")
          .map(parse)
          .map([=](const Image& image, ebb::Context& c) {
            return std::pair(image.label, c.call(network, &Network::digit_of, image) == image.label);
          })
          .parallelism(2)
          .name("classify")
          .key_by([](const std::pair<int, bool>& answer) { return answer.first; })
          .reduce(Score{},
                  [](Score& score, const std::pair<int, bool>& answer) {
                    ++score.images;
                    if (answer.second) ++score.right;
                  })
          .collect();
  const ebb::PipelineReport report = env.submit({.autostop = true});

  std::vector<std::pair<int, Score>> by_digit = scores.get();
  std::sort(by_digit.begin(), by_digit.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  Score all;
  for (const auto& [digit, score] : by_digit) {
    std::cout << digit << ": " << std::setw(3) << score.right << " of " << std::setw(3) << score.images
              << '\n';
    all = {all.images + score.images, all.right + score.right};
  }
  std::cout << std::fixed << std::setprecision(3) << "accuracy "
            << static_cast<double>(all.right) / all.images
            << " on images that the training never was rewarded for\n"
            << report;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    classify(argc > 1 ? argv[1] : "digits");
  } catch (const std::exception& error) {
    std::cerr << "classify: " << error.what() << '\n';
    return 1;
  }
}
