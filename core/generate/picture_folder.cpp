#include "core/generate/picture_folder.h"

#include <fmt/format.h>

#include "core/base/version.h"
#include "core/data/png_write.h"
#include "core/data/text.h"

namespace t2i {

namespace {

const std::string software = std::string("t2i ") + version;

bool is_ours(const Path& path) {
  if (path.extension() == ".json") {
    Result<Json> json = read_json(path.string());
    if (!json || !json->is_object() || !json->contains("info") || !(*json)["info"].is_object()) return false;
    return (*json)["info"].value("contributor", Json()) == Json("t2i");
  }
  auto text = read_png_text(path.string());
  if (!text) return false;
  auto written = text->find("Software");
  return written != text->end() && written->second.starts_with("t2i ");
}

void require_ours(const Path& path) {
  std::error_code error;
  if (!std::filesystem::exists(std::filesystem::symlink_status(path, error)) || is_ours(path)) return;
  fail({path.string(), "there is a file already, which t2i generate did not write", "It would be lost",
        "choose another --output, or move it away", "E6007", Exit::in_use});
}

}  // namespace

PictureFolder::PictureFolder(const std::string& output, const std::string& format, size_t pictures)
    : output_(output), coco_(format == "coco") {
  single_ = !coco_ && extension_of(output) == "png";
  std::error_code error;
  if (single_ && pictures > 1)
    fail({"--output", fmt::format("{} pictures do not fit into one file, {}", pictures, output), "", "name a folder", "E6012", Exit::usage});
  if (!single_ && std::filesystem::exists(output_, error) && !std::filesystem::is_directory(output_, error))
    fail({output, "is a file, not a folder", "", "choose another --output", "E6007", Exit::in_use});
  for (size_t i = 0; i < pictures; ++i) require_ours(path_of(i));
  if (coco_) require_ours(output_ / "annotations.json");
}

Path PictureFolder::path_of(size_t index) const {
  if (single_) return output_;
  return coco_ ? output_ / "images" / fmt::format("{:012}.png", index + 1) : output_ / fmt::format("{:05}.png", index);
}

Path PictureFolder::write(size_t index, int64_t width, int64_t height, std::span<const uint8_t> rgb, const std::string& parameters) {
  Path path = path_of(index);
  if (path.has_parent_path()) make_folders(path.parent_path());
  write_png(path.string(), static_cast<int>(width), static_cast<int>(height), rgb, {{"parameters", parameters}, {"Software", software}});
  return path;
}

bool PictureFolder::holds(size_t index, const std::string& parameters) const {
  std::error_code error;
  if (!std::filesystem::exists(path_of(index), error)) return false;
  auto text = read_png_text(path_of(index).string());
  if (!text) return false;
  auto written = text->find("parameters");
  return written != text->end() && written->second == parameters;
}

Json PictureFolder::describe(int64_t width, int64_t height, const std::string& caption, uint64_t seed) {
  return {{"width", width}, {"height", height}, {"caption", caption}, {"seed", seed}};
}

void PictureFolder::write_annotations(const std::vector<Json>& about) const {
  if (!coco_) return;
  Json images = Json::array(), captions = Json::array();
  for (size_t i = 0; i < about.size(); ++i) {
    images.push_back({{"id", i + 1}, {"file_name", path_of(i).filename().string()}, {"width", about[i]["width"]},
                      {"height", about[i]["height"]}, {"seed", about[i]["seed"]}});
    captions.push_back({{"id", i + 1}, {"image_id", i + 1}, {"caption", about[i]["caption"]}});
  }
  Json info{{"description", "generated pictures"}, {"contributor", "t2i"}, {"version", version}};
  Json all{{"info", info}, {"images", images}, {"annotations", captions}, {"licenses", Json::array()}};
  std::string text = all.dump(1) + "\n";
  write_file(output_ / "annotations.json", as_bytes(text));
}

}  // namespace t2i
