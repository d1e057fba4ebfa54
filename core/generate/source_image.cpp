#include "core/generate/source_image.h"

#include "core/data/decode.h"
#include "core/data/transform.h"

namespace t2i {

at::Tensor SourceImages::load(const std::string& path) {
  if (last_.defined() && path == last_path_) return last_;
  Image image = load_image(path).take();
  auto down = static_cast<int>(place_px_);
  Geometry geometry;
  if (size_.width) {
    TransformOptions options;
    options.width = static_cast<int>(size_.width), options.height = static_cast<int>(size_.height);
    options.center_crop = true;
    geometry = derive_geometry(options, image.width, image.height, {});
  } else {
    if (image.width < down || image.height < down)
      fail({path, "the picture is " + std::to_string(image.width) + "x" + std::to_string(image.height) + " pixels; the model needs " + std::to_string(down) + "x" + std::to_string(down), "",
            "give --size, or a larger picture", "E6013", Exit::bad_data});
    geometry.original_width = image.width, geometry.original_height = image.height;
    geometry.width = geometry.resized_width = image.width / down * down;
    geometry.height = geometry.resized_height = image.height / down * down;
  }
  FloatImage pixels = apply_geometry(image, geometry, Filter::lanczos);
  last_ = at::from_blob(pixels.chw.data(), {1, 3, pixels.height, pixels.width}, at::kFloat).to(device_, at::kFloat, false, true);
  last_path_ = path;
  return last_;
}

}  // namespace t2i
