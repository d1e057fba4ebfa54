#include "core/precision/held.h"

#include <algorithm>

#include "core/precision/device.h"

namespace t2i {

HeldType held_type(at::ScalarType wanted, const Json& part) {
  const Json allowed = part.value("dtypes", Json::array());
  if (wanted == at::kFloat || allowed.empty() || std::count(allowed.begin(), allowed.end(), dtype_name(wanted)))
    return {wanted, ""};
  return {at::kFloat, dtype_name(wanted)};
}

HeldType held_type(const std::string& asked, const std::string& mixed_precision, at::Device device, const Json& part) {
  const bool automatic = asked == "auto";
  if (automatic && device.is_cpu()) return {at::kFloat, ""};
  HeldType held = held_type(dtype_from(automatic ? part.value("auto_dtype", mixed_precision) : asked, "model.dtype"), part);
  if (automatic) held.refused.clear();
  return held;
}

}  // namespace t2i
