#include "core/metric/run_events.h"

#include <fcntl.h>
#include <unistd.h>

#include <ctime>
#include <nlohmann/json.hpp>

namespace t2i {

std::string utc_text(double wall_seconds) {
  std::time_t seconds = static_cast<std::time_t>(wall_seconds);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  return text;
}

std::pair<std::string, std::string> kind_of_note(const std::string& line) {
  for (const char* kind : {"notice", "warning", "skipped"})
    if (std::string begin = std::string(kind) + ": "; line.starts_with(begin)) return {kind, line.substr(begin.size())};
  return {"note", line};
}

RunEvents::RunEvents(Path path, Clock& clock)
    : clock_(clock), fd_(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {}

RunEvents::~RunEvents() {
  if (fd_ >= 0) close(fd_);
}

// One call of write(), so that lines of two writers never mix; a full disk may cut it, and readers pass over that.
void RunEvents::line(const std::string& text) {
  if (fd_ < 0) return;
  [[maybe_unused]] ssize_t written = ::write(fd_, text.data(), text.size());
}

void RunEvents::write(const std::string& kind, int64_t step, const std::string& text) {
  nlohmann::ordered_json event = {{"time", utc_text(clock_.wall_seconds())}, {"step", step}, {"kind", kind}, {"text", text}};
  line(event.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

void RunEvents::start(int64_t step, int64_t total, const std::string& version) {
  nlohmann::ordered_json event = {
      {"time", utc_text(clock_.wall_seconds())}, {"step", step}, {"kind", "start"}, {"total", total}, {"t2i", version}};
  line(event.dump() + "\n");
}

}  // namespace t2i
