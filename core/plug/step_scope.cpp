#include "core/plug/step_scope.h"

namespace t2i {

static thread_local bool inside = false;

bool in_step() { return inside; }
StepScope::StepScope() : before_(inside) { inside = true; }
StepScope::~StepScope() { inside = before_; }

}  // namespace t2i
