// SIGTERM, SIGINT and SIGUSR1 ask the run to save the current step and leave with exit code 75; a second SIGINT leaves
// at once. The handlers only set a flag.
#pragma once

namespace t2i {

void install_stop_signals();
// The signal that asked to stop, 0 when none did.
int stop_signal();

}  // namespace t2i
