#include "core/report/compare_pictures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "core/data/decode.h"
#include "core/report/pictures.h"

namespace fs = std::filesystem;

namespace t2i {
namespace {

constexpr size_t most_shown_pairs = 200;

bool is_picture(const Path& file) {
  std::string ending = file.extension().string();
  for (char& c : ending)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return ending == ".png" || ending == ".jpg" || ending == ".jpeg" || ending == ".webp";
}

std::set<std::string> pictures_below(const Path& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error))
    fail({folder.string(), "there is no such folder", "", "give a folder of pictures, or the output folder of a run", "E8001", Exit::missing});
  std::set<std::string> out;
  for (fs::recursive_directory_iterator at(folder, fs::directory_options::skip_permission_denied, error), end; !error && at != end; at.increment(error))
    if (!at->path().filename().string().starts_with('.') && at->is_regular_file(error) && is_picture(at->path()))
      out.insert(at->path().lexically_relative(folder).generic_string());
  return out;
}

std::string without_ending(const std::string& name) { return Path(name).replace_extension().generic_string(); }

// What is left of `names` after exact partners are gone, by the name without its ending; ambiguous ones are left out.
std::map<std::string, std::string> by_stem(const std::set<std::string>& names, const std::set<std::string>& taken) {
  std::map<std::string, std::string> out;
  std::set<std::string> twice;
  for (const std::string& name : names)
    if (!taken.contains(name) && !out.emplace(without_ending(name), name).second) twice.insert(without_ending(name));
  for (const std::string& stem : twice) out.erase(stem);
  return out;
}

void measure(PicturePair& pair) {
  Result<Image> a = load_image(pair.a.string()), b = load_image(pair.b.string());
  if (!a || !b) {
    pair.problem = to_string(!a ? a.error() : b.error());
    return;
  }
  pair.width_a = a->width, pair.height_a = a->height, pair.width_b = b->width, pair.height_b = b->height;
  if (a->width == b->width && a->height == b->height) pair.apart = difference(*a, *b);
  else pair.problem = fmt::format("{} × {} and {} × {} pixels", a->width, a->height, b->width, b->height);
}

Json psnr_json(double psnr) { return std::isfinite(psnr) ? Json(psnr) : Json("inf"); }

}  // namespace

Difference difference(const Image& a, const Image& b) {
  Difference out;
  double sum = 0, squares = 0;
  for (size_t i = 0; i < a.rgb.size(); ++i) {
    const int d = std::abs(static_cast<int>(a.rgb[i]) - static_cast<int>(b.rgb[i]));
    sum += d, squares += static_cast<double>(d) * d;
    out.most = std::max(out.most, d);
  }
  const double count = static_cast<double>(std::max<size_t>(a.rgb.size(), 1));
  out.mean = sum / count;
  out.psnr = squares > 0 ? 10 * std::log10(255.0 * 255.0 / (squares / count)) : std::numeric_limits<double>::infinity();
  return out;
}

FolderPairs pair_folders(const Path& a, const Path& b) {
  const std::set<std::string> names_a = pictures_below(a), names_b = pictures_below(b);
  FolderPairs out;
  std::set<std::string> taken_a, taken_b;
  auto add = [&](const std::string& name, const std::string& in_a, const std::string& in_b) {
    out.pairs.push_back({name, a / in_a, b / in_b, 0, 0, 0, 0, {}, {}});
    taken_a.insert(in_a), taken_b.insert(in_b);
  };
  for (const std::string& name : names_a)
    if (names_b.contains(name)) add(name, name, name);
  const auto rest_a = by_stem(names_a, taken_a), rest_b = by_stem(names_b, taken_b);
  for (const auto& [stem, name] : rest_a)
    if (auto partner = rest_b.find(stem); partner != rest_b.end()) add(stem, name, partner->second);
  for (const std::string& name : names_a)
    if (!taken_a.contains(name)) out.only_a.push_back(name);
  for (const std::string& name : names_b)
    if (!taken_b.contains(name)) out.only_b.push_back(name);
  if (out.pairs.empty())
    fail({fmt::format("{} and {}", a.string(), b.string()), "no picture has a partner of the same name",
          fmt::format("The first has {} pictures, the second {}", names_a.size(), names_b.size()),
          "give two folders of pictures with the same names, as t2i generate makes them of the same prompts", "E8006", Exit::bad_data});
  std::sort(out.pairs.begin(), out.pairs.end(), [](const PicturePair& x, const PicturePair& y) { return x.name < y.name; });
  for (PicturePair& pair : out.pairs) measure(pair);
  return out;
}

Json pairs_json(const std::string& a, const std::string& b, const FolderPairs& pairs) {
  std::vector<size_t> order(pairs.pairs.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  auto mean_of = [&](size_t i) { return pairs.pairs[i].apart ? pairs.pairs[i].apart->mean : 256.0; };
  std::stable_sort(order.begin(), order.end(), [&](size_t x, size_t y) { return mean_of(x) > mean_of(y); });
  const std::set<size_t> shown(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(std::min(order.size(), most_shown_pairs)));
  const int side = side_for(2 * shown.size());
  Json list = Json::array();
  for (size_t i = 0; i < pairs.pairs.size(); ++i) {
    const PicturePair& pair = pairs.pairs[i];
    Json one = {{"name", pair.name}, {"size_a", {pair.width_a, pair.height_a}}, {"size_b", {pair.width_b, pair.height_b}}};
    if (pair.apart) one["mean"] = pair.apart->mean, one["most"] = pair.apart->most, one["psnr"] = psnr_json(pair.apart->psnr);
    else one["problem"] = pair.problem;
    if (shown.contains(i)) {
      Result<ShownPicture> picture_a = show_picture(pair.a, side), picture_b = show_picture(pair.b, side);
      if (picture_a && picture_b) one["a"] = picture_a->uri, one["b"] = picture_b->uri;
    }
    list.push_back(std::move(one));
  }
  return {{"kind", "pictures"}, {"a", a}, {"b", b}, {"pairs", list}, {"only_a", pairs.only_a}, {"only_b", pairs.only_b}, {"side", side},
          {"shown", shown.size()}};
}

}  // namespace t2i
