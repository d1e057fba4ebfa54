#include "core/base/dry_run.h"

namespace t2i {

static thread_local DryRunOf now = DryRunOf::nothing;

DryRunOf dry_run_of() { return now; }
DryRunMark::DryRunMark(DryRunOf kind) : before_(now) { now = kind; }
DryRunMark::~DryRunMark() { now = before_; }

}  // namespace t2i
