// A few digits that tell two sets of weights apart.
#pragma once
#include <string>

#include "core/model/params.h"

namespace t2i {

// 32 hexadecimal digits over all weights of a part, frozen and trained. Integer sums over the bits: they are the same
// on every device and for every order of adding. Reads the part once; waits for the device. Of weights that wait in host memory only before
// the first step.
std::string digest_of(const ParamStore& store);

}  // namespace t2i
