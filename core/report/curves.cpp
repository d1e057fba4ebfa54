#include "core/report/curves.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <span>

namespace t2i {
namespace {

// A line's numbers without a tree in between: a million lines are read in seconds.
struct LineReader : nlohmann::json_sax<Json> {
  std::vector<std::pair<std::string, double>> numbers;  // null is NaN
  size_t used = 0;                                       // of them; the texts' memory is used again
  int depth = 0;
  bool sound = true;

  bool number(double x) {
    if (depth == 1 && used > 0) numbers[used - 1].second = x;
    return true;
  }
  bool forget() {  // a value that is no number
    if (depth == 1 && used > 0) --used;
    return true;
  }

  bool null() override { return number(std::numeric_limits<double>::quiet_NaN()); }
  bool boolean(bool) override { return forget(); }
  bool number_integer(number_integer_t x) override { return number(static_cast<double>(x)); }
  bool number_unsigned(number_unsigned_t x) override { return number(static_cast<double>(x)); }
  bool number_float(number_float_t x, const string_t&) override { return number(x); }
  bool string(string_t&) override { return forget(); }
  bool binary(binary_t&) override { return forget(); }
  bool start_object(std::size_t) override {
    if (depth == 1) forget();
    return ++depth < 64;
  }
  bool key(string_t& name) override {
    if (depth != 1) return true;
    if (used == numbers.size()) numbers.emplace_back();
    numbers[used++].first = name;
    return true;
  }
  bool end_object() override { return --depth, true; }
  bool start_array(std::size_t) override {
    if (depth == 0) return sound = false;
    if (depth == 1) forget();
    return ++depth < 64;
  }
  bool end_array() override { return --depth, true; }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override { return sound = false; }
};

Json nine_digits(double x) {
  if (!std::isfinite(x)) return nullptr;
  if (std::floor(x) == x && std::abs(x) < 1e15) return static_cast<int64_t>(x);
  return std::strtod(fmt::format("{:.9g}", x).c_str(), nullptr);
}

}  // namespace

Curves::Curves(int64_t most_points) : most_points_(std::max<int64_t>(most_points, 2)) {}

void Curves::Bucket::add(double value) {
  if (!std::isfinite(value)) {
    ++missing;
    return;
  }
  low = count ? std::min(low, value) : value;
  high = count ? std::max(high, value) : value;
  sum += value;
  ++count;
}

void Curves::Bucket::merge(const Bucket& other) {
  missing += other.missing;
  if (!other.count) return;
  low = count ? std::min(low, other.low) : other.low;
  high = count ? std::max(high, other.high) : other.high;
  sum += other.sum;
  count += other.count;
}

void Curves::widen() {
  width_ *= 2;
  const size_t half = (points_ + 1) / 2;
  for (auto& [name, buckets] : series_) {
    for (size_t i = 0; i < buckets.size(); ++i) {
      if (i % 2) buckets[i / 2].merge(buckets[i]);
      else if (i) buckets[i / 2] = buckets[i];
    }
    buckets.resize((buckets.size() + 1) / 2);
  }
  for (size_t i = 0; i < epochs_.size(); ++i) epochs_[i / 2] = epochs_[i];  // the later of two
  epochs_.resize(half);
  points_ = half;
}

Curves::Bucket& Curves::bucket_of(const std::string& name) {
  auto found = series_.find(name);
  if (found == series_.end()) {
    order_.push_back(name);
    found = series_.emplace(name, std::vector<Bucket>()).first;
  }
  if (found->second.size() < points_) found->second.resize(points_);
  return found->second[points_ - 1];
}

void Curves::add_line(std::string_view line) {
  static thread_local LineReader reader;
  reader.used = 0, reader.depth = 0, reader.sound = true;
  const bool parsed = Json::sax_parse(line.begin(), line.end(), &reader) && reader.sound;
  const auto numbers = std::span(reader.numbers).first(parsed ? reader.used : 0);
  auto step_at = std::find_if(numbers.begin(), numbers.end(), [](const auto& n) { return n.first == "step"; });
  const double number = step_at == numbers.end() ? 0 : step_at->second;
  // A step that is behind the last one, or absurdly far ahead, is no line of a run that was logged in order.
  if (!(number >= 1 && number <= 1e15 && std::floor(number) == number) || static_cast<int64_t>(number) <= last_step_) {
    ++unread_;
    return;
  }
  const int64_t step = static_cast<int64_t>(number);
  ++lines_, last_step_ = step;
  while ((step - 1) / width_ >= most_points_) widen();
  points_ = static_cast<size_t>((step - 1) / width_) + 1;
  const double epoch_before = epochs_.empty() ? 0 : epochs_.back();
  if (epochs_.size() < points_) epochs_.resize(points_, epoch_before);
  for (const auto& [name, value] : numbers) {
    if (name == "step") continue;
    if (name == "epoch") epochs_.back() = std::isfinite(value) ? value : epoch_before;
    else bucket_of(name).add(value);
  }
}

void Curves::read(const Path& file) {
  std::error_code none;
  const uint64_t size = std::filesystem::file_size(file, none);
  if (none) return;
  if (size < offset_) *this = Curves(most_points_);  // it was begun anew, or cut by a run that went on
  Result<int> fd = open_regular_file(file);
  if (!fd) return;
  std::string text, block(1 << 20, '\0');
  for (uint64_t at = offset_;;) {
    const ssize_t n = ::pread(*fd, block.data(), block.size(), static_cast<off_t>(at));
    if (n <= 0) break;
    at += static_cast<uint64_t>(n);
    text.append(block, 0, static_cast<size_t>(n));
    size_t begin = 0;
    for (size_t end; (end = text.find('\n', begin)) != text.npos; begin = end + 1)
      add_line(std::string_view(text).substr(begin, end - begin));
    text.erase(0, begin);
    offset_ = at - text.size();
  }
  ::close(*fd);
  unfinished_ = !text.empty();
}

double Curves::sum(const std::string& name) const {
  auto found = series_.find(name);
  double total = 0;
  if (found != series_.end())
    for (const Bucket& b : found->second) total += b.sum;
  return total;
}

double Curves::recent(const std::string& name, size_t points) const {
  auto found = series_.find(name);
  double total = 0;
  int64_t count = 0;
  if (found != series_.end())
    for (auto b = found->second.rbegin(); b != found->second.rend() && points > 0; ++b)
      if (b->count) total += b->sum, count += b->count, --points;
  return count ? total / static_cast<double>(count) : std::numeric_limits<double>::quiet_NaN();
}

double Curves::greatest(const std::string& name) const {
  auto found = series_.find(name);
  double most = std::numeric_limits<double>::quiet_NaN();
  if (found != series_.end())
    for (const Bucket& b : found->second)
      if (b.count && !(b.high <= most)) most = b.high;
  return most;
}

Json Curves::to_json() const {
  Json steps = Json::array(), seconds = Json::array(), epochs = Json::array(), all = Json::array();
  for (size_t i = 0; i < points_; ++i)
    steps.push_back(std::min(static_cast<int64_t>(i + 1) * width_, last_step_));
  for (double epoch : epochs_) epochs.push_back(nine_digits(epoch));
  auto time = series_.find("step_seconds");
  double so_far = 0;
  for (size_t i = 0; i < points_; ++i) {
    if (time != series_.end() && i < time->second.size()) so_far += time->second[i].sum;
    seconds.push_back(nine_digits(so_far));
  }
  for (const std::string& name : order_) {
    const std::vector<Bucket>& buckets = series_.find(name)->second;
    Json one = {{"name", name}, {"mean", Json::array()}, {"missing", Json::array()}};
    for (size_t i = 0; i < points_; ++i) {
      const Bucket b = i < buckets.size() ? buckets[i] : Bucket();
      one["mean"].push_back(b.count ? nine_digits(b.sum / static_cast<double>(b.count)) : Json());
      if (b.missing) one["missing"].push_back({i, b.missing});
      if (width_ == 1) continue;
      one["low"].push_back(b.count ? nine_digits(b.low) : Json());
      one["high"].push_back(b.count ? nine_digits(b.high) : Json());
    }
    all.push_back(std::move(one));
  }
  return {{"steps_per_point", width_}, {"steps", steps}, {"epochs", epochs}, {"seconds", seconds}, {"series", all}};
}

}  // namespace t2i
