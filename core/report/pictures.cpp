#include "core/report/pictures.h"

#include <webp/encode.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <span>
#include <tuple>

#include "core/data/decode.h"
#include "core/data/png_write.h"
#include "core/data/transform.h"
#include "core/report/base64.h"

namespace fs = std::filesystem;

namespace t2i {
namespace {

constexpr uint64_t small_file_bytes = 16 << 10;  // below it nothing is won by another format
constexpr float webp_quality = 86;               // no difference that is seen at half size; a tenth of a PNG's bytes

std::string mime_of(std::string_view bytes) {
  if (bytes.starts_with("\x89PNG\r\n\x1a\n")) return "image/png";
  if (bytes.starts_with("\xff\xd8\xff")) return "image/jpeg";
  if (bytes.size() > 12 && bytes.starts_with("RIFF") && bytes.substr(8, 4) == "WEBP") return "image/webp";
  return "";
}

std::string uri_of(const std::string& mime, Bytes bytes) { return "data:" + mime + ";base64," + base64(bytes); }

// The number at the end of "step-0000500"; −1 where there is none.
int64_t step_of(const std::string& folder) {
  int64_t step = -1;
  if (!folder.starts_with("step-")) return -1;
  auto [end, error] = std::from_chars(folder.data() + 5, folder.data() + folder.size(), step);
  return error == std::errc() && end == folder.data() + folder.size() ? step : -1;
}

std::vector<Path> sorted_entries(const Path& folder) {
  std::vector<Path> out;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) out.push_back(at->path());
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

ShownPicture show_picture(const Image& image, int side) {
  ShownPicture out;
  out.width = image.width, out.height = image.height;
  const double scale = std::min(1.0, static_cast<double>(side) / std::max({image.width, image.height, 1}));
  out.shown_width = std::max(1, static_cast<int>(image.width * scale + 0.5));
  out.shown_height = std::max(1, static_cast<int>(image.height * scale + 0.5));
  const bool same = out.shown_width == image.width && out.shown_height == image.height;
  const Image shown = same ? image : resize(image, out.shown_width, out.shown_height, Filter::lanczos);
  uint8_t* bytes = nullptr;
  const size_t size = WebPEncodeRGB(shown.rgb.data(), shown.width, shown.height, shown.width * 3, webp_quality, &bytes);
  if (size) out.uri = uri_of("image/webp", std::as_bytes(std::span(bytes, size)));
  WebPFree(bytes);
  return out;
}

Result<ShownPicture> show_picture(const Path& path, int side) {
  Result<Image> image = load_image(path.string());
  if (!image) return image.error();
  std::error_code none;
  const uint64_t bytes = fs::file_size(path, none);
  ShownPicture out;
  Result<std::string> file = bytes <= small_file_bytes && std::max(image->width, image->height) <= side
                                 ? read_file(path, small_file_bytes)
                                 : Result<std::string>(std::string());
  const std::string mime = file ? mime_of(*file) : "";
  if (!mime.empty() && image->notes.empty()) {  // nothing that a browser might show otherwise
    out.width = out.shown_width = image->width, out.height = out.shown_height = image->height;
    out.uri = uri_of(mime, as_bytes(*file));
  } else {
    out = show_picture(*image, side);
  }
  out.bytes = bytes;
  return out;
}

std::vector<ValidationPicture> PictureShelf::validation_pictures(const Path& run) {
  std::vector<ValidationPicture> out;
  std::vector<std::pair<int64_t, Path>> steps;
  for (const Path& folder : sorted_entries(run / "validation_images"))
    if (int64_t step = step_of(folder.filename().string()); step >= 0) steps.push_back({step, folder});
  std::sort(steps.begin(), steps.end());
  for (const auto& [step, folder] : steps) {
    std::map<std::pair<std::string, std::string>, int64_t> seen;
    for (const Path& file : sorted_entries(folder)) {
      const std::string name = file.filename().string();
      if (file.extension() != ".png" || name.starts_with('.')) continue;
      std::error_code gone;
      const auto written = fs::last_write_time(file, gone);
      if (gone) continue;
      auto known = texts_.find(file);
      if (known == texts_.end() || known->second.written != written) {
        auto texts = read_png_text(file.string());
        if (!texts) continue;
        auto text = [&](const char* key) { return texts->contains(key) ? texts->at(key) : std::string(); };
        known = texts_.insert_or_assign(file, Texts{written, text("prompt"), text("seed")}).first;
      }
      ValidationPicture picture{file, step, known->second.prompt, known->second.seed, -1, 0};
      if (picture.prompt.empty() && picture.seed.empty()) picture.prompt = file.stem().string();
      int64_t index = 0;
      if (std::from_chars(name.data(), name.data() + name.size(), index).ec == std::errc()) picture.prompt_index = index;
      picture.occurrence = seen[{picture.prompt, picture.seed}]++;
      out.push_back(std::move(picture));
    }
  }
  return out;
}

const ShownPicture* PictureShelf::show(const Path& path, int side) {
  std::error_code gone;
  const auto written = fs::last_write_time(path, gone);
  if (gone) return nullptr;
  Entry& entry = shown_[{path, side}];
  entry.used = true;
  if (entry.picture.uri.empty() || entry.written != written) {
    Result<ShownPicture> picture = show_picture(path, side);
    entry.written = written;
    entry.good = static_cast<bool>(picture);
    entry.picture = picture ? *picture : ShownPicture{0, 0, 0, 0, "unreadable", 0};
  }
  return entry.good ? &entry.picture : nullptr;
}

void PictureShelf::forget_unused() {
  std::erase_if(shown_, [](const auto& item) { return !item.second.used; });
  for (auto& [key, entry] : shown_) entry.used = false;
}

int side_for(size_t count) { return count <= 200 ? 512 : 256; }

std::vector<int64_t> spread(const std::vector<int64_t>& all, size_t most) {
  most = std::max<size_t>(most, 2);
  if (all.size() <= most) return all;
  std::vector<int64_t> out;
  for (size_t i = 0; i < most; ++i) out.push_back(all[i * (all.size() - 1) / (most - 1)]);
  return out;
}

Json picture_grid(PictureShelf& shelf, const Path& run, const std::vector<std::string>& sources) {
  const std::vector<ValidationPicture> all = shelf.validation_pictures(run);
  std::vector<int64_t> steps;
  std::map<int64_t, size_t> at_step;
  for (const ValidationPicture& p : all) {
    if (steps.empty() || steps.back() != p.step) steps.push_back(p.step);
    ++at_step[p.step];
  }
  size_t widest = 1;
  for (const auto& [step, count] : at_step) widest = std::max(widest, count);
  const std::vector<int64_t> shown = spread(steps, most_pictures / widest);
  const std::set<int64_t> wanted(shown.begin(), shown.end());
  const int side = side_for(shown.size() * widest);

  Json rows = Json::array(), files = Json::array();
  std::map<std::tuple<std::string, std::string, int64_t>, size_t> row_of;
  std::map<std::string, Json> source_of;
  uint64_t bytes = 0;
  bool shrunk = false;
  auto add_file = [&](const Path& path) -> Json {
    const ShownPicture* picture = shelf.show(path, side);
    if (!picture) return nullptr;
    bytes += picture->uri.size();
    shrunk |= picture->shown_width != picture->width || picture->uri.starts_with("data:image/webp");
    files.push_back({{"width", picture->width}, {"height", picture->height}, {"uri", picture->uri}});
    return files.size() - 1;
  };
  for (const ValidationPicture& p : all) {
    if (!wanted.contains(p.step)) continue;
    auto [row, is_new] = row_of.try_emplace({p.prompt, p.seed, p.occurrence}, rows.size());
    if (is_new) {
      Json source;
      if (!sources.empty() && p.prompt_index >= 0) {
        const std::string& path = sources[std::min<size_t>(static_cast<size_t>(p.prompt_index), sources.size() - 1)];
        if (!source_of.contains(path)) source_of[path] = add_file(path);
        source = source_of[path];
      }
      rows.push_back({{"prompt", p.prompt}, {"seed", p.seed}, {"source", source}, {"frames", Json::array()}});
      for (size_t i = 0; i < shown.size(); ++i) rows.back()["frames"].push_back(nullptr);
    }
    const size_t column = static_cast<size_t>(std::lower_bound(shown.begin(), shown.end(), p.step) - shown.begin());
    rows[row->second]["frames"][column] = add_file(p.path);
  }
  shelf.forget_unused();
  return {{"steps", shown}, {"rows", rows}, {"files", files}, {"side", side}, {"shrunk", shrunk},
          {"left_out_steps", steps.size() - shown.size()}, {"bytes", bytes}};
}

}  // namespace t2i
