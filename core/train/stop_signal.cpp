#include "core/train/stop_signal.h"

#include <unistd.h>

#include <csignal>

namespace t2i {

static volatile std::sig_atomic_t received = 0;

static void on_signal(int number) {
  if (received == SIGINT && number == SIGINT) _exit(130);
  received = number;
}

void install_stop_signals() {
  received = 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  for (int number : {SIGTERM, SIGINT, SIGUSR1}) sigaction(number, &action, nullptr);
}

int stop_signal() { return received; }

}  // namespace t2i
