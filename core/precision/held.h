// In which type a part that is not trained is held in memory: what was asked for, where the part allows it.
#pragma once
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <optional>
#include <string>

#include "core/base/json.h"

namespace t2i {

struct HeldType {
  at::ScalarType type;
  std::string refused;  // the type that was asked for and that the part is not made for; empty where there was none
};

// As what a part that is asked for in `wanted` is held: float32 where that is not among its "dtypes".
HeldType held_type(at::ScalarType wanted, const Json& part);

// `asked` is model.dtype. auto is float32 on a CPU, where half precision saves memory alone, and on a GPU the type of
// train.mixed_precision. `part` is what the model's describe() says of the part: "auto_dtype" is then taken in place of
// that, and what is not among its "dtypes" is float32.
HeldType held_type(const std::string& asked, const std::string& mixed_precision, at::Device device, const Json& part);

// The same of weights that are not trained, in a part of which something else is: their type decides what is resident and
// not what is computed in. So auto may take what it finds: where it would be float32, the type that all of them have in the
// files (`stored`; empty where they have several) if that is a narrower one, which loses nothing.
HeldType held_type_beside_trained(const std::string& asked, const std::string& mixed_precision, at::Device device, const Json& part,
                                  std::optional<at::ScalarType> stored);

}  // namespace t2i
