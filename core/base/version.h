// The version of t2i, written into checkpoints and printed by --version; equal to the CMake project's (a test compares).
#pragma once

namespace t2i {
inline constexpr const char* version = "0.1.0";
}
