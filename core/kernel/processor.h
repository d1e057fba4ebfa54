// Which instructions this processor has, by the names that torch gives them ("avx2", "avx512_bf16", …).
#pragma once

namespace t2i {

// False for a name that torch does not know, and for every name on another architecture.
bool processor_has(const char* instructions);

// Whether it is an x86-64: every one of them has SSE2.
inline bool is_x86_64() { return processor_has("sse2"); }

// Whether the files that CMake compiles for wide vectors (AVX2 on x86-64) may run.
bool has_wide_floats();
// The same of those for AVX-512; false on other architectures.
bool has_widest_floats();

}  // namespace t2i
