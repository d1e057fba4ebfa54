#include "core/metric/tensorboard.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <boost/crc.hpp>

namespace t2i {
namespace {

// ---- protobuf's wire format: key = field << 3 | type; 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes ----

std::string varint(uint64_t x) {
  std::string out;
  for (; x >= 0x80; x >>= 7) out += static_cast<char>(x | 0x80);
  return out + static_cast<char>(x);
}

template <class Unsigned>
std::string little_endian(Unsigned x) {
  std::string out;
  for (size_t i = 0; i < sizeof x; ++i) out += static_cast<char>(x >> (8 * i));
  return out;
}

std::string integer_field(int field, int64_t x) {
  return varint(static_cast<uint64_t>(field) << 3) + varint(static_cast<uint64_t>(x));
}
std::string double_field(int field, double x) {
  return varint(static_cast<uint64_t>(field) << 3 | 1) + little_endian(std::bit_cast<uint64_t>(x));
}
std::string float_field(int field, float x) {
  return varint(static_cast<uint64_t>(field) << 3 | 5) + little_endian(std::bit_cast<uint32_t>(x));
}
std::string bytes_field(int field, const std::string& bytes) {
  return varint(static_cast<uint64_t>(field) << 3 | 2) + varint(bytes.size()) + bytes;
}

// Event { wall_time = 1; step = 2; file_version = 3; summary = 5; session_log = 7 }
std::string event(double wall_seconds, int64_t step, const std::string& what) {
  return double_field(1, wall_seconds) + integer_field(2, step) + what;
}

// Summary { repeated Value value = 1 }, Value { tag = 1; simple_value = 2; image = 4 }
std::string summary_value(const std::string& tag, const std::string& value) {
  return bytes_field(1, bytes_field(1, tag) + value);
}

uint32_t masked_crc32c(const std::string& bytes) {
  boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;
  crc.process_bytes(bytes.data(), bytes.size());
  uint32_t x = crc.checksum();
  return std::rotr(x, 15) + 0xA282EAD8u;
}

std::string host_name() {
  char name[256] = "host";
  gethostname(name, sizeof name - 1);
  std::string out;
  for (const char* c = name; *c; ++c) out += *c == '/' ? '_' : *c;
  return out;
}

}  // namespace

EventFile::EventFile(const Path& folder, int64_t resumed_step, Clock& clock) : clock_(clock) {
  static std::atomic<int> count{0};
  FileSystem& disk = real_file_system();
  make_folders(folder, disk);
  double now = clock_.wall_seconds();
  // TensorBoard reads the files of a folder in the order of their names.
  path_ = folder /
          fmt::format("events.out.tfevents.{:010}.{}.{}.{}", static_cast<int64_t>(now), host_name(), getpid(), count++);
  fd_ = disk.create(path_);
  if (fd_ < 0) fail_write(disk, path_, "opening", fd_);
  record(event(now, 0, bytes_field(3, "brain.Event:2")));
  // SessionLog { status = 1 }: START drops steps from this one on that were read before.
  if (resumed_step > 0) record(event(now, resumed_step + 1, bytes_field(7, integer_field(1, 1))));
}

EventFile::~EventFile() { real_file_system().close(fd_); }

void EventFile::record(const std::string& event) {
  std::string length = little_endian(static_cast<uint64_t>(event.size()));
  std::string bytes = length + little_endian(masked_crc32c(length)) + event + little_endian(masked_crc32c(event));
  write_all(real_file_system(), fd_, as_bytes(bytes), path_);
}

void EventFile::scalar(const std::string& tag, int64_t step, double value) {
  std::string simple = float_field(2, static_cast<float>(value));
  record(event(clock_.wall_seconds(), step, bytes_field(5, summary_value(tag, simple))));
}

void EventFile::image(const std::string& tag, int64_t step, int64_t width, int64_t height, Bytes png) {
  // Image { height = 1; width = 2; colorspace = 3 (3: RGB); encoded_image_string = 4 }
  std::string bytes(reinterpret_cast<const char*>(png.data()), png.size());
  std::string image = integer_field(1, height) + integer_field(2, width) + integer_field(3, 3) + bytes_field(4, bytes);
  record(event(clock_.wall_seconds(), step, bytes_field(5, summary_value(tag, bytes_field(4, image)))));
}

void EventFile::metrics(const StepMetrics& m) {
  std::string values;
  auto add = [&values](const std::string& name, double value) {
    values += summary_value("train/" + name, float_field(2, static_cast<float>(value)));
  };
  add("loss", m.loss);
  add("raw_loss", m.raw_loss);
  add("lr", m.lr);
  add("grad_norm", m.grad_norm);
  add("images_per_second", m.images_per_second);
  add("memory_bytes", static_cast<double>(m.memory_bytes));
  add("peak_memory_bytes", static_cast<double>(m.peak_memory_bytes));
  for (const auto& [name, value] : m.extras) add(name, value);
  record(event(clock_.wall_seconds(), m.step, bytes_field(5, values)));
}

}  // namespace t2i
