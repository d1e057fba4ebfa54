#include "core/data/bucket.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <tuple>

#include "core/base/rng.h"

namespace t2i {
namespace {

bool read_int(std::string_view text, int& out) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && out > 0;
}

// All multiples of `step` whose area is no more than side × side.
void add_area(std::vector<BucketSize>& sizes, int side, const BucketRules& rules) {
  const int64_t area = int64_t{side} * side, step = rules.step;
  auto add = [&](int64_t width, int64_t height) {
    const double aspect = static_cast<double>(std::max(width, height)) / static_cast<double>(std::min(width, height));
    if (aspect <= rules.max_aspect) sizes.push_back({static_cast<int>(width), static_cast<int>(height), side});
  };
  for (int64_t width = step; width * step <= area; width += step) {
    const int64_t height = area / width / step * step;
    add(width, height), add(height, width);
  }
}

double distance(const BucketSize& size, int width, int height) {
  return std::abs(std::log(static_cast<double>(size.width) / size.height) - std::log(static_cast<double>(width) / height));
}

constexpr const char* key = "data.buckets";

}  // namespace

Result<std::vector<BucketSize>> bucket_sizes(const BucketRules& rules) {
  std::vector<BucketSize> sizes;
  std::string problems;
  auto problem = [&](const std::string& text) { problems += (problems.empty() ? "" : "; ") + text; };
  for (const std::string& word : rules.asked) {
    const bool is_auto = word == "auto" || word.starts_with("auto:");
    int side = static_cast<int>(rules.resolution), width = 0, height = 0;
    const size_t cross = word.find('x');
    if (is_auto && (word == "auto" || read_int(std::string_view(word).substr(5), side))) {
      if (rules.step % rules.place_px) problem(fmt::format("data.bucket_step {} is not a multiple of {}", rules.step, rules.place_px));
      else if (side < rules.step) problem(fmt::format("{} is smaller than data.bucket_step {}", side, rules.step));
      else add_area(sizes, side, rules);
    } else if (!is_auto && cross != word.npos && read_int(std::string_view(word).substr(0, cross), width) &&
               read_int(std::string_view(word).substr(cross + 1), height)) {
      if (width % rules.place_px || height % rules.place_px) problem(fmt::format("{} is not of multiples of {}", word, rules.place_px));
      else sizes.push_back({width, height, 0});
    } else {
      problem(fmt::format("'{}' is no size", word));
    }
  }
  if (!problems.empty())
    return Error{key, problems, rules.place_px > 1 ? fmt::format("The model sees {} pixels a side as one place", rules.place_px) : "",
                 "write auto, auto:768 or 512x768 (width x height)", "E8080", Exit::config};
  std::sort(sizes.begin(), sizes.end(), [](const BucketSize& a, const BucketSize& b) {
    return std::tie(a.width, a.height, a.area) < std::tie(b.width, b.height, b.area);
  });
  sizes.erase(std::unique(sizes.begin(), sizes.end(), [](const BucketSize& a, const BucketSize& b) { return a.width == b.width && a.height == b.height; }), sizes.end());
  return sizes;
}

size_t bucket_of(const std::vector<BucketSize>& sizes, int width, int height) {
  std::set<int> areas;
  for (const BucketSize& s : sizes) areas.insert(s.area);
  size_t best = 0;
  int64_t best_pixels = -1;
  bool best_enlarges = true;
  for (int area : areas) {
    size_t nearest = sizes.size();
    for (size_t i = 0; i < sizes.size(); ++i)
      if (sizes[i].area == area && (nearest == sizes.size() || distance(sizes[i], width, height) < distance(sizes[nearest], width, height))) nearest = i;
    const BucketSize& s = sizes[nearest];
    const bool enlarges = s.width > width || s.height > height;
    const int64_t pixels = int64_t{s.width} * s.height;
    const bool better = best_pixels < 0 || (enlarges != best_enlarges ? !enlarges : enlarges ? pixels < best_pixels : pixels > best_pixels);
    if (better) best = nearest, best_pixels = pixels, best_enlarges = enlarges;
  }
  return best;
}

BucketOrder::BucketOrder(std::vector<std::vector<uint64_t>> rows, int64_t batch, uint64_t seed)
    : rows_(std::move(rows)), batch_(std::max<int64_t>(1, batch)), seed_(seed) {
  for (size_t b = 0; b < rows_.size(); ++b) {
    first_batch_.push_back(batches_);
    batches_ += batches_of(b);
  }
}

int64_t BucketOrder::batches_of(size_t bucket) const { return (static_cast<int64_t>(rows_[bucket].size()) + batch_ - 1) / batch_; }

int64_t BucketOrder::repeated(size_t bucket) const { return batches_of(bucket) * batch_ - static_cast<int64_t>(rows_[bucket].size()); }

std::vector<uint64_t> BucketOrder::rows_of(int64_t number) const {
  const auto all = static_cast<uint64_t>(batches_), n = static_cast<uint64_t>(number), epoch = n / all;
  // Another permutation than that of rows, so that the two have nothing to do with each other.
  const auto place = static_cast<int64_t>(permuted(n % all, all, seed_ ^ stream_id("buckets"), epoch));
  // The last bucket that begins here or before; empty ones begin where the next one does.
  const size_t bucket = static_cast<size_t>(std::upper_bound(first_batch_.begin(), first_batch_.end(), place) - first_batch_.begin()) - 1;
  const std::vector<uint64_t>& own = rows_[bucket];
  const int64_t first = (place - first_batch_[bucket]) * batch_;
  std::vector<uint64_t> out;
  for (int64_t i = first; i < first + batch_; ++i)
    out.push_back(own[permuted(static_cast<uint64_t>(i) % own.size(), own.size(), seed_ + bucket, epoch)]);
  return out;
}

}  // namespace t2i
