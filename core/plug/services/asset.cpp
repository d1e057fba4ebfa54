#include "core/model/assets.h"
#include "core/plug/host.h"
#include "core/plug/services/services.h"

namespace t2i {

const t2i_asset_api* asset_service() {
  static const t2i_asset_api api{sizeof(t2i_asset_api), [](void* assets, const char* path, const char** data, size_t* bytes) {
                                   return guard([&] {
                                     const std::string* text = static_cast<AssetFolder*>(assets)->read(path);
                                     *data = text ? text->data() : nullptr;
                                     *bytes = text ? text->size() : 0;
                                   });
                                 }};
  return &api;
}

}  // namespace t2i
