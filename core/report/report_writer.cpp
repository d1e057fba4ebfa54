#include "core/report/report_writer.h"

#include <sys/resource.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "core/report/report.h"

namespace t2i {

struct ReportWriter::State {
  explicit State(const Path& run) : report(run), file(run / "report.html") {}

  RunReport report;  // of the thread alone
  Path file;
  std::mutex mutex;  // for what follows
  std::condition_variable changed;
  bool asked = false, busy = false, ending = false, told = false, written = false;
  std::string status = "running", problem;
  std::thread thread;

  void write(const std::string& as) {
    std::string why;
    try {
      Result<std::string> page = report.page(as);
      if (page) write_file(file, as_bytes(*page));
      else why = to_string(page.error());
    } catch (const Failure& f) {
      why = f.what();
    } catch (const std::exception& e) {
      why = e.what();
    }
    std::lock_guard lock(mutex);
    written = why.empty();
    if (!told && problem.empty()) problem = why;
  }

  void work() {
    setpriority(PRIO_PROCESS, 0, 10);  // on Linux that is this thread alone
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [&] { return asked || ending; });
      if (!asked) return;
      asked = false, busy = true;
      const std::string as = status;
      lock.unlock();
      write(as);
      lock.lock();
      busy = false;
      changed.notify_all();
    }
  }
};

ReportWriter::ReportWriter(const Path& run) : state_(new State(run)) {
  std::error_code error;
  for (std::filesystem::directory_iterator at(run, error), end; !error && at != end; at.increment(error))
    if (at->path().filename().string().starts_with(".report.html.tmp-")) real_file_system().remove_file(at->path());
  state_->thread = std::thread([state = state_.get()] { state->work(); });
}

ReportWriter::~ReportWriter() {
  {
    std::lock_guard lock(state_->mutex);
    state_->ending = true;
  }
  state_->changed.notify_all();
  state_->thread.join();
}

void ReportWriter::ask() {
  {
    std::lock_guard lock(state_->mutex);
    state_->asked = true;
  }
  state_->changed.notify_all();
}

bool ReportWriter::finish(const std::string& status) {
  std::unique_lock lock(state_->mutex);
  state_->status = status, state_->asked = true;
  state_->changed.notify_all();
  state_->changed.wait(lock, [&] { return !state_->asked && !state_->busy; });
  return state_->written;
}

std::string ReportWriter::problem() {
  std::lock_guard lock(state_->mutex);
  if (state_->told || state_->problem.empty()) return "";
  state_->told = true;
  return state_->problem;
}

const Path& ReportWriter::file() const { return state_->file; }

}  // namespace t2i
