#include "core/base/forked.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

namespace t2i {
namespace {

[[noreturn]] void be_the_child(const std::function<std::string()>& body, int to_parent) {
  if (int nowhere = ::open("/dev/null", O_RDWR); nowhere >= 0)
    for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(nowhere, fd);
  std::string text;
  try {
    text = body();
  } catch (...) {
    ::_exit(2);
  }
  text.push_back('\n');  // the end: without it the child died while it wrote
  for (size_t done = 0; done < text.size();) {
    ssize_t n = ::write(to_parent, text.data() + done, text.size() - done);
    if (n < 0 && errno != EINTR) break;
    if (n > 0) done += static_cast<size_t>(n);
  }
  ::_exit(0);  // no destructors of what the parent goes on with
}

std::string how_it_died(int status) {
  if (WIFSIGNALED(status)) return "ended by signal " + std::to_string(WTERMSIG(status)) + " (" + ::strsignal(WTERMSIG(status)) + ")";
  return "ended by itself with code " + std::to_string(WEXITSTATUS(status));
}

}  // namespace

Forked run_forked(const std::function<std::string()>& body, double timeout_seconds) {
  using Clock = std::chrono::steady_clock;
  Forked result;
  int ends[2];
  if (::pipe(ends) != 0) return result.died = std::string("could not be started: ") + std::strerror(errno), result;
  pid_t child = ::fork();
  if (child == 0) ::close(ends[0]), be_the_child(body, ends[1]);
  ::close(ends[1]);
  if (child < 0) return ::close(ends[0]), result.died = std::string("could not be started: ") + std::strerror(errno), result;
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
  const auto until = Clock::now() + std::chrono::duration<double>(timeout_seconds);
  bool closed = false;
  while (!closed && Clock::now() < until) {
    char some[4096];
    ssize_t n = ::read(ends[0], some, sizeof some);
    if (n > 0) result.text.append(some, static_cast<size_t>(n));
    closed = n == 0;
    if (n < 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ::close(ends[0]);
  int status = 0;
  if (!closed) {
    ::kill(child, SIGKILL);
    for (int i = 0; i < 1000 && ::waitpid(child, &status, WNOHANG) == 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    result.died = "gave no answer in " + std::to_string(static_cast<int>(timeout_seconds)) + " s";
  } else {
    ::waitpid(child, &status, 0);
    if (status != 0 || !result.text.ends_with('\n')) result.died = how_it_died(status);
  }
  if (result.died.empty()) result.text.pop_back();
  else result.text.clear();
  return result;
}

}  // namespace t2i
