// Mixed precision as the field does it: weights stay as they are, matrix products and convolutions inside the region
// run in the lower type, norms and sums in float32 (torch's autocast lists).
#pragma once
#include <ATen/autocast_mode.h>

namespace t2i {

class Autocast {
  at::DeviceType device_;
  bool enabled_before_;
  at::ScalarType dtype_before_;

 public:
  // `dtype` float32 means: off.
  Autocast(at::DeviceType device, at::ScalarType dtype)
      : device_(device), enabled_before_(at::autocast::is_autocast_enabled(device)), dtype_before_(at::autocast::get_autocast_dtype(device)) {
    at::autocast::set_autocast_enabled(device, dtype != at::kFloat && dtype != at::kDouble);
    if (dtype != at::kFloat && dtype != at::kDouble) at::autocast::set_autocast_dtype(device, dtype);
    at::autocast::increment_nesting();
  }
  ~Autocast() {
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();  // weights change between steps
    at::autocast::set_autocast_enabled(device_, enabled_before_);
    at::autocast::set_autocast_dtype(device_, dtype_before_);
  }
  Autocast(const Autocast&) = delete;
};

}  // namespace t2i
