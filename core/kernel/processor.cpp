#include "core/kernel/processor.h"

#include <ATen/cpu/Utils.h>

namespace t2i {

bool processor_has(const char* instructions) {
  static const auto cpu = at::cpu::get_cpu_capabilities();
  auto found = cpu.find(instructions);
  return found != cpu.end() && found->second.isBool() && found->second.toBool();
}

bool has_wide_floats() {
  static const bool yes = !is_x86_64() || (processor_has("avx2") && processor_has("fma3") && processor_has("bmi2"));
  return yes;
}

bool has_widest_floats() {
  static const bool yes = has_wide_floats() && processor_has("avx512_f") && processor_has("avx512_bw") && processor_has("avx512_cd") &&
                          processor_has("avx512_dq") && processor_has("avx512_vl");
  return yes;
}

}  // namespace t2i
