#include "core/kernel/processor.h"

#include <ATen/cpu/Utils.h>

namespace t2i {

bool processor_has(const char* instructions) {
  static const auto cpu = at::cpu::get_cpu_capabilities();
  auto found = cpu.find(instructions);
  return found != cpu.end() && found->second.isBool() && found->second.toBool();
}

}  // namespace t2i
