#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

// Durations in nanoseconds, each kept to within 1/64 of its value (the scheme of HdrHistogram, with base 2).
class Histogram {
 public:
  void Add(uint64_t value, uint64_t times) {
    counts_[Index(value)] += times;
    total_ += times;
  }

  uint64_t total() const { return total_; }

  // The value that the part `quantile` of all do not exceed; 0 when there are none.
  double Quantile(double quantile) const {
    uint64_t left = std::max<uint64_t>(1, static_cast<uint64_t>(quantile * static_cast<double>(total_)));
    for (size_t index = 0; index < counts_.size(); ++index) {
      if (counts_[index] >= left) return Middle(index);
      left -= counts_[index];
    }
    return 0;
  }

 private:
  static constexpr unsigned kBits = 6;

  // Values below 128 have buckets of their own; above, each power of two has 64.
  static size_t Index(uint64_t value) {
    const unsigned width = static_cast<unsigned>(std::bit_width(value));
    const unsigned shift = width > kBits + 1 ? width - (kBits + 1) : 0;
    return (size_t{shift} << kBits) + (value >> shift);
  }

  static double Middle(size_t index) {
    const size_t shift = index < (2u << kBits) ? 0 : (index >> kBits) - 1;
    const uint64_t low = (index - (shift << kBits)) << shift;
    return static_cast<double>(low) + (static_cast<double>(uint64_t{1} << shift) - 1) / 2;
  }

  std::vector<uint64_t> counts_ = std::vector<uint64_t>(size_t{66 - kBits} << kBits);
  uint64_t total_ = 0;
};
