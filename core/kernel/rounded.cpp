#include "core/kernel/rounded.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>

#include "core/base/dry_run.h"
#include "core/kernel/processor.h"

namespace t2i {

static bool multiplies_in(at::ScalarType type) {
  if (!is_x86_64()) return true;  // left to torch
  return type == at::kHalf ? processor_has("avx512_fp16") || processor_has("amx_fp16")
                           : processor_has("avx512_bf16") || processor_has("amx_bf16");
}

static bool on_every_processor = false;
RoundOnEveryProcessor::RoundOnEveryProcessor() { on_every_processor = true; }
RoundOnEveryProcessor::~RoundOnEveryProcessor() { on_every_processor = false; }

std::optional<at::ScalarType> rounded_type(const at::Tensor& operand) {
  static const bool bfloat16 = multiplies_in(at::kBFloat16), half = multiplies_in(at::kHalf);
  if (!operand.is_cpu() || in_dry_run_of_gpu()) return std::nullopt;
  at::ScalarType type =
      at::autocast::is_autocast_enabled(at::kCPU) ? at::autocast::get_autocast_dtype(at::kCPU) : operand.scalar_type();
  if (type != at::kHalf && type != at::kBFloat16) return std::nullopt;
  bool is_well = (type == at::kHalf ? half : bfloat16) && !on_every_processor;
  return is_well ? std::nullopt : std::optional(type);
}

at::Tensor rounded(const at::Tensor& x, at::ScalarType type) { return x.to(type).to(at::kFloat); }

}  // namespace t2i
