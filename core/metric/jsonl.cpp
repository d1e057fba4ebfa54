#include "core/metric/jsonl.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

namespace t2i {

std::string metrics_line(const StepMetrics& m) {
  nlohmann::ordered_json line;  // dump() writes nan and inf as null
  line["step"] = m.step;
  line["epoch"] = m.epoch;
  line["loss"] = m.loss;
  line["raw_loss"] = m.raw_loss;
  line["lr"] = m.lr;
  line["grad_norm"] = m.grad_norm;
  line["step_seconds"] = m.step_seconds;
  line["data_seconds"] = m.data_seconds;
  line["images_per_second"] = m.images_per_second;
  line["memory_bytes"] = m.memory_bytes;
  line["peak_memory_bytes"] = m.peak_memory_bytes;
  for (const auto& [name, value] : m.extras) line[name] = value;
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

size_t metrics_kept_bytes(const std::string& text, int64_t step) {
  size_t kept = 0;
  for (;;) {
    size_t end = text.find('\n', kept);
    if (end == std::string::npos) return kept;
    auto line = nlohmann::json::parse(text.begin() + static_cast<std::ptrdiff_t>(kept),
                                      text.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    if (!line.is_object()) return kept;
    auto number = line.find("step");
    if (number == line.end() || !number->is_number_integer() || number->get<int64_t>() > step) return kept;
    kept = end + 1;
  }
}

MetricsFile::MetricsFile(Path path, int64_t resumed_step) : path_(std::move(path)) {
  size_t kept = 0;
  std::error_code ignored;
  if (resumed_step > 0 && std::filesystem::exists(path_, ignored))
    kept = metrics_kept_bytes(read_file(path_, uint64_t{1} << 40).take(), resumed_step);
  fd_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd_ < 0) fail_write(real_file_system(), path_, "opening", -errno);
  if (ftruncate(fd_, static_cast<off_t>(kept)) != 0) {
    int error = -errno;
    close(fd_);
    fail_write(real_file_system(), path_, "shortening", error);
  }
}

MetricsFile::~MetricsFile() { close(fd_); }

void MetricsFile::write(const StepMetrics& metrics) {
  write_all(real_file_system(), fd_, as_bytes(metrics_line(metrics) + "\n"), path_);
}

}  // namespace t2i
