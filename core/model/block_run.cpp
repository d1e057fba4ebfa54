#include "core/model/block_run.h"

#include <set>
#include <string>

namespace t2i {

static thread_local BlockRun* innermost = nullptr;

BlockRun::BlockRun(int64_t without) : outer_(innermost), without_(without) {
  if (outer_) outer_->need_values();  // a block within: too far to see
  innermost = this;
}

BlockRun::~BlockRun() {
  innermost = outer_;
  if (outer_ && trains_) outer_->uses_trained();
}

BlockRun* BlockRun::current() { return innermost; }

Keeps keeps_of(const char* op_name) {
  static const std::set<std::string> nothing{"aten::add",     "aten::sub",       "aten::neg",    "aten::view",  "aten::reshape", "aten::permute",
                                             "aten::transpose", "aten::flatten", "aten::unflatten", "aten::unsqueeze", "aten::squeeze", "aten::slice",
                                             "aten::narrow",  "aten::select",    "aten::split",  "aten::split_with_sizes", "aten::chunk",
                                             "aten::contiguous", "aten::clone",  "aten::expand", "aten::cat", "aten::to", "aten::_to_copy"};
  const std::string name = op_name;
  if (nothing.contains(name)) return Keeps::nothing;
  if (name == "aten::mul") return Keeps::factors;
  if (name == "aten::div") return Keeps::divisor;
  return name == "t2i::gated_add" ? Keeps::gated : Keeps::values;
}

}  // namespace t2i
