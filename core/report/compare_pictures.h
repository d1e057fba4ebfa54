// Two folders of pictures, by the names of their files: what one prompt gave before and after.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/data/image.h"

namespace t2i {

// How far two pictures of one size are apart, over all values of all pixels, of 255.
struct Difference {
  double mean = 0;
  int most = 0;
  double psnr = 0;  // dB, infinite for equal pictures
};
Difference difference(const Image& a, const Image& b);  // needs equal sizes

struct PicturePair {
  std::string name;  // relative to the folder, without its ending where the two have different ones
  Path a, b;
  int width_a = 0, height_a = 0, width_b = 0, height_b = 0;
  std::optional<Difference> apart;  // none where the sizes differ or one cannot be read
  std::string problem;              // then: why
};

struct FolderPairs {
  std::vector<PicturePair> pairs;           // by name
  std::vector<std::string> only_a, only_b;  // names without a partner
};

// Pairs up *.png, *.jpg, *.jpeg and *.webp below the folders and measures them. A name that has a partner with another
// ending is paired when that is the only one. E8001 where a folder is not there, E8006 where nothing pairs up.
FolderPairs pair_folders(const Path& a, const Path& b);

// What the page shows: {a, b, pairs: [...], only_a, only_b, mean, psnr}; pictures of the most different pairs only, where
// there are many.
Json pairs_json(const std::string& a, const std::string& b, const FolderPairs& pairs);

}  // namespace t2i
