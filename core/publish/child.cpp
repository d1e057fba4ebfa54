#include "core/publish/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdlib>
#include <sstream>

#include "core/metric/clock.h"
#include "core/publish/secrets.h"

namespace t2i {

Path find_program(const std::string& name) {
  std::error_code none;
  auto runs = [&](const Path& file) { return std::filesystem::is_regular_file(file, none) && access(file.c_str(), X_OK) == 0; };
  if (name.find('/') != name.npos) return runs(name) ? Path(name) : Path();
  const char* path = std::getenv("PATH");
  std::istringstream folders(path ? path : "/usr/local/bin:/usr/bin:/bin");
  for (std::string folder; std::getline(folders, folder, ':');)
    if (Path file = Path(folder.empty() ? "." : folder) / name; runs(file)) return file;
  return {};
}

Child::Child(const std::vector<std::string>& command) : secrets_(secrets_of_environment()) {
  int in[2] = {-1, -1}, out[2] = {-1, -1};
  auto failed = [&](int error) {
    for (int fd : {in[0], in[1], out[0], out[1]})
      if (fd >= 0) close(fd);
    fail({command[0], "cannot be started", strerror(error), "check that it is installed and may be run", "E8015", Exit::missing});
  };
  if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0) failed(errno);
  std::vector<char*> arguments;
  for (const std::string& a : command) arguments.push_back(const_cast<char*>(a.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, in[0], 0);
  posix_spawn_file_actions_adddup2(&files, out[1], 1);
  posix_spawn_file_actions_adddup2(&files, out[1], 2);
  posix_spawnattr_t how;
  posix_spawnattr_init(&how);
  sigset_t back, none;
  sigemptyset(&none), sigemptyset(&back);
  for (int number : {SIGXFSZ, SIGPIPE, SIGINT, SIGTERM, SIGUSR1}) sigaddset(&back, number);
  posix_spawnattr_setsigdefault(&how, &back);
  posix_spawnattr_setsigmask(&how, &none);
  posix_spawnattr_setpgroup(&how, 0);
  posix_spawnattr_setflags(&how, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  const int error = posix_spawnp(&pid_, arguments[0], &files, &how, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&how);
  if (error) pid_ = -1, failed(error);
  close(in[0]), close(out[1]);
  input_ = in[1], output_ = out[0];
  fcntl(output_, F_SETFL, O_NONBLOCK);
  fcntl(input_, F_SETFL, O_NONBLOCK);
}

Child::~Child() {
  close_input();
  if (pid_ > 0 && !ended()) {
    signal(SIGTERM);
    std::vector<std::string> heard;
    if (!wait(2, heard)) signal(SIGKILL), waitpid(pid_, nullptr, 0);
  }
  if (output_ >= 0) close(output_);
}

// A pipe that nobody reads raises SIGPIPE, which would end the run: it is blocked for this thread meanwhile, and taken.
void Child::say(const std::string& text) {
  if (input_ < 0) return;
  sigset_t pipe_signal, before, pending;
  sigemptyset(&pipe_signal), sigaddset(&pipe_signal, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
  if (write(input_, text.data(), text.size()) < 0 && errno == EPIPE) {
    timespec now{0, 0};
    sigpending(&pending);
    if (sigismember(&pending, SIGPIPE)) sigtimedwait(&pipe_signal, nullptr, &now);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Child::close_input() {
  if (input_ >= 0) close(std::exchange(input_, -1));
}

void Child::read_more() {
  char block[4096];
  for (ssize_t n; output_ >= 0 && (n = read(output_, block, sizeof block)) != 0;) {
    if (n < 0) {
      if (errno == EINTR) continue;
      return;
    }
    for (char c : std::string_view(block, static_cast<size_t>(n))) {
      if (c == '\n') {
        if (!partial_.empty() && partial_.back() == '\r') partial_.pop_back();
        if (size_t back = partial_.rfind('\r'); back != partial_.npos) partial_.erase(0, back + 1);
        waiting_.push_back(printable(without_secrets(partial_, secrets_)));
        partial_.clear();
      } else if (partial_.size() < 8192) {
        partial_ += c;
      }
    }
  }
}

std::vector<std::string> Child::lines() {
  read_more();
  if (code_ && !partial_.empty()) waiting_.push_back(printable(without_secrets(std::exchange(partial_, {}), secrets_)));
  return std::exchange(waiting_, {});
}

std::optional<int> Child::ended() {
  if (code_ || pid_ < 0) return code_;
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) == pid_) code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return code_;
}

std::optional<int> Child::wait(double seconds, std::vector<std::string>& heard, const std::function<bool()>& stop) {
  const double until = real_clock().seconds() + seconds;
  for (;;) {
    const bool over = ended().has_value();
    for (std::string& line : lines()) heard.push_back(std::move(line));
    if (over) return code_;
    if (real_clock().seconds() > until || (stop && stop())) return std::nullopt;
    pollfd one{output_, POLLIN, 0};
    poll(&one, 1, 100);
    if (one.revents & POLLHUP) {  // it has closed its output and is about to end
      timespec moment{0, 20'000'000};
      nanosleep(&moment, nullptr);
    }
  }
}

void Child::signal(int number) {
  if (pid_ > 0 && !code_) ::kill(-pid_, number);
}

}  // namespace t2i
