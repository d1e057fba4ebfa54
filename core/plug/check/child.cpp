#include "core/plug/check/child.h"

#include <ATen/Parallel.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/base/error.h"
#include "core/plug/host.h"

namespace t2i {
namespace {

constexpr int answered = 42;  // the exit code of a child that came to its end

Outcome guarded(const std::function<Outcome()>& body) {
  try {
    return body();
  } catch (const Failure& f) {
    return {Outcome::fail, f.what()};
  } catch (const std::exception& e) {
    return {Outcome::fail, "an exception came out of it: " + text_of(e)};
  } catch (...) {
    return {Outcome::fail, "an exception came out of it that is not a std::exception"};
  }
}

[[noreturn]] void be_the_child(const std::function<Outcome()>& body, int pipe) {
  ::mallopt(M_PERTURB, 0xa5);  // freed memory is overwritten: using it again shows
  if (int null = ::open("/dev/null", O_WRONLY); null >= 0) ::dup2(null, STDOUT_FILENO);
  at::set_num_threads(1);
  Outcome outcome = guarded(body);
  std::string message = std::string(1, static_cast<char>('0' + outcome.status)) + outcome.text;
  for (size_t at = 0; at < message.size();) {
    ssize_t n = ::write(pipe, message.data() + at, message.size() - at);
    if (n < 0 && errno != EINTR) break;
    if (n > 0) at += static_cast<size_t>(n);
  }
  ::_exit(answered);  // no destructors: only the checked calls count
}

}  // namespace

Outcome run_here(const std::function<Outcome()>& body) {
  at::set_num_threads(1);
  return guarded(body);
}

namespace {

// The machine's doing, not that of what was to be run.
[[noreturn]] void no_child(const std::string& what) {
  fail({"a process to try a plugin in", what + ": " + std::strerror(errno), "",
        "End other programs, or raise this user's limits (ulimit -u, ulimit -n).", "E2066", Exit::failed});
}

}  // namespace

Outcome run_in_child(const std::function<Outcome()>& body, int timeout_seconds) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) no_child("no pipe can be made");
  pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    be_the_child(body, ends[1]);
  }
  ::close(ends[1]);
  if (child < 0) {
    ::close(ends[0]);
    no_child("it cannot be started");
  }
  std::string answer;
  bool late = false;
  for (int64_t left_ms = int64_t{timeout_seconds} * 1000;;) {
    pollfd wait{ends[0], POLLIN, 0};
    int ready = ::poll(&wait, 1, 100);
    left_ms -= ready == 0 ? 100 : 0;
    if (ready == 0 && left_ms > 0) continue;
    if (ready == 0) {
      late = true;
      ::kill(child, SIGKILL);
    }
    char buffer[4096];
    ssize_t n = ::read(ends[0], buffer, sizeof buffer);
    if (n > 0) answer.append(buffer, static_cast<size_t>(n));
    if (n == 0 || (n < 0 && errno != EINTR)) break;
  }
  ::close(ends[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (late) return {Outcome::fail, fmt::format("no answer in {} seconds", timeout_seconds)};
  if (WIFSIGNALED(status)) return {Outcome::fail, fmt::format("it crashed: {}", ::strsignal(WTERMSIG(status)))};
  if (WEXITSTATUS(status) != answered) return {Outcome::fail, fmt::format("it ended the process with code {}", WEXITSTATUS(status))};
  if (answer.empty()) return {Outcome::fail, "it gave no answer"};
  return {static_cast<Outcome::Status>(answer[0] - '0'), answer.substr(1)};
}

}  // namespace t2i
