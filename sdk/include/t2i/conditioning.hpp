// t2i/conditioning.hpp - what tasks do with the conditioning, whatever a family calls its tensors.
//
// A tensor X that comes from the prompt has twins: null_X, the same for the empty prompt (when training), and
// negative_X, for the negative prompt (when generating). Dropping the prompt replaces every X by its twin; X without a
// twin stays.
#pragma once
#include <t2i/t2i.hpp>

#include <algorithm>

namespace t2i __attribute__((visibility("hidden"))) {

  inline bool is_twin(std::string_view name) { return name.starts_with("null_") || name.starts_with("negative_"); }

  // Hands on everything but the twins and "rng"; tensors that come from the prompt are replaced where `dropped` is
  // true. `dropped` is a [n] bool tensor, or none: nothing is dropped. Names in `except` are left to the caller.
  inline void pass_conditioning(Named in, Sink out, const Tensor& dropped = {},
                                std::initializer_list<std::string_view> except = {}) {
    for (const t2i_named& item : in.items) {
      std::string name = item.name;
      if (is_twin(name) || name == "rng" || std::find(except.begin(), except.end(), name) != except.end()) continue;
      Tensor x = Tensor::borrow(item.tensor);
      if (Tensor null = in.get_or_none("null_" + name); dropped && null)
        x = op<"where.self">({per_sample(dropped, x), to(null, x.dtype()), x});
      out.put(name, x);
    }
  }

  // The same for the branch of guidance that sees the negative prompt (its twin, or that of the empty prompt).
  inline void pass_negative(Named in, Sink out, std::initializer_list<std::string_view> except = {}) {
    for (const t2i_named& item : in.items) {
      std::string name = item.name;
      if (is_twin(name) || name == "rng" || std::find(except.begin(), except.end(), name) != except.end()) continue;
      for (const std::string& twin : {"negative_" + name, "null_" + name, name})
        if (in.has(twin)) {
          out.put(name, in[twin]);
          break;
        }
    }
  }

}  // namespace )
