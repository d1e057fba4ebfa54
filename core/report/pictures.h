// Pictures for a page: as data URIs, no larger than they need to be.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/data/image.h"

namespace t2i {

struct ShownPicture {
  int width = 0, height = 0;              // of the file
  int shown_width = 0, shown_height = 0;  // as embedded
  std::string uri;                        // "data:image/webp;base64,…"
  uint64_t bytes = 0;                     // of the file
};

// A picture with no side above `side`, shrunk where it is larger. A PNG or JPEG that is small already stays as it is;
// others become WebP. Errors as load_image().
Result<ShownPicture> show_picture(const Path& path, int side);
ShownPicture show_picture(const Image& image, int side);

// One file of validation_images/, and what its text entries say.
struct ValidationPicture {
  Path path;
  int64_t step = 0;
  std::string prompt, seed;
  int64_t prompt_index = -1;  // in validation.prompts, as the file's name has it
  int64_t occurrence = 0;     // of those with the same prompt, seed and step, by name
};

// Pictures that a report has shown before need not be read again.
class PictureShelf {
 public:
  // Every picture of RUN/validation_images/step-*/, by step and name. What is no PNG of a run is passed over.
  std::vector<ValidationPicture> validation_pictures(const Path& run);
  // Null where it cannot be read. The pointer holds until forget_unused().
  const ShownPicture* show(const Path& path, int side);
  // Drops what no show() has asked for since the last call.
  void forget_unused();

 private:
  struct Texts {
    std::filesystem::file_time_type written;
    std::string prompt, seed;
  };
  struct Entry {
    std::filesystem::file_time_type written;
    bool used = false, good = false;
    ShownPicture picture;
  };
  std::map<Path, Texts> texts_;
  std::map<std::pair<Path, int>, Entry> shown_;
};

// What a page may hold: the side at which `count` pictures are shown, 512, or 256 where there are many.
int side_for(size_t count);
constexpr size_t most_pictures = 800;

// `all` thinned to `most`, evenly, with the first and the last.
std::vector<int64_t> spread(const std::vector<int64_t>& all, size_t most);

// {steps, rows: [{prompt, seed, source, frames: [index into files, or null, per step]}], files: [{width, height, uri}],
//  side, left_out_steps, bytes}: the validation pictures of a run for its report. `sources`: what was edited, by prompt.
Json picture_grid(PictureShelf& shelf, const Path& run, const std::vector<std::string>& sources);

}  // namespace t2i
