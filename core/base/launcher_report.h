// What a launcher is told of a failure.
#pragma once
#include <string>

namespace t2i {

// For torchrun's summary: writes the failure into $TORCHELASTIC_ERROR_FILE when that is set.
void report_to_launcher(const std::string& message);

}  // namespace t2i
