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

HeldType held_type_beside_trained(const std::string& asked, const std::string& mixed_precision, at::Device device, const Json& part,
                                  std::optional<at::ScalarType> stored) {
  HeldType held = held_type(asked, mixed_precision, device, part);
  if (asked != "auto" || held.type != at::kFloat || !stored) return held;
  if (*stored == at::kBFloat16 || *stored == at::kHalf) return {*stored, ""};
  const bool in_eight_bits = *stored == at::kFloat8_e4m3fn || *stored == at::kFloat8_e5m2;
  return {in_eight_bits ? at::kBFloat16 : at::kFloat, ""};  // bfloat16 has every value of both
}

}  // namespace t2i
