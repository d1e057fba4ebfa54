// Makes LibTorch's CPU tensors live in an Arena.
#pragma once

namespace t2i {

// From now on; tensors made before are freed as they were made. Once per process, at its start.
void use_host_arena();

}  // namespace t2i
