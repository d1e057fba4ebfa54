#include "core/model/block_run.h"
#include "core/plug/handle.h"
#include "core/plug/host.h"
#include "core/plug/services/services.h"
#include "core/plug/meter.h"

namespace t2i {

const t2i_metric_api* metric_service() {
  static const t2i_metric_api api{sizeof(t2i_metric_api), [](const char* name, t2i_tensor scalar) {
                                    return guard([&] {
                                      if (BlockRun* run = BlockRun::current()) run->need_values();
                                      meter_put(name, unwrap(scalar));
                                    });
                                  }};
  return &api;
}

}  // namespace t2i
