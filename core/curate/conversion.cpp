#include "core/curate/conversion.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>

#include "core/data/text.h"

namespace t2i {
namespace {

// A name that may stand in a new folder as it is.
bool is_plain_path(const std::string& name) {
  if (name.empty() || name.starts_with('/') || name.size() > 4000 || find_bad_utf8(name) != name.npos) return false;
  const std::string around = "/" + name + "/";
  const char last = name.back();
  return around.find("/.") == around.npos && around.find("//") == around.npos && last != '/' &&
         std::none_of(name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

bool is_picture_name(const std::string& name) {
  const std::string ending = extension_of(name);
  return ending == "jpg" || ending == "jpeg" || ending == "png" || ending == "webp";
}

const char* ending_of(const PictureBytes& begin) {
  auto begins = [&](std::string_view magic, size_t at = 0) { return begin.size() >= at + magic.size() && std::memcmp(begin.data() + at, magic.data(), magic.size()) == 0; };
  return begins("\xff\xd8\xff") ? ".jpg" : begins("\x89PNG") ? ".png" : begins("RIFF") && begins("WEBP", 8) ? ".webp" : nullptr;
}

std::vector<ColumnSpec> of_kind(const std::vector<ColumnSpec>& columns, bool images) {
  std::vector<ColumnSpec> out;
  for (const ColumnSpec& column : columns)
    if (column.is_image == images) out.push_back(column);
  return out;
}

const std::string& name_in(const Row& row, const std::string& column) { return row.values.at(column); }

}  // namespace

std::vector<ColumnSpec> Conversion::images() const { return of_kind(columns, true); }
std::vector<ColumnSpec> Conversion::texts() const { return of_kind(columns, false); }

PictureBytes Conversion::read(const Row& row, const std::string& column) const {
  return dataset.pictures->read(name_in(row, column), DecodeLimits().max_file_bytes, row.where, column + " '" + name_in(row, column) + "'").take();
}

void Conversion::put(const Row& row, const std::string& column, const std::string& path) {
  const std::string file = options.link ? dataset.pictures->file(name_in(row, column)) : "";
  ++pictures;
  if (!file.empty() && staging.link(path, file)) return void(++linked);
  const PictureBytes bytes = read(row, column);
  picture_bytes += bytes.size();
  staging.write(path, bytes);
}

std::optional<std::string> repeat_label(const Dataset& dataset, const std::string& picture) {
  const size_t slash = picture.find('/'), line = picture.find('_');
  if (dataset.layout != folder_repeats_layout || slash == picture.npos || line == picture.npos || line > slash) return std::nullopt;
  return picture.substr(line + 1, slash - line - 1);
}

PictureNames::PictureNames(const Conversion& job, For what) : job_(job), for_(what) {
  const Pictures& pictures = *job.dataset.pictures;
  const std::vector<ColumnSpec> images = job.images();
  several_ = images.size() > 1;
  uint64_t samples = 0, most = 1'000'000;
  for (const Row* row : job.rows) samples += job.times(*row);
  for (; samples >= most; most *= 10) ++digits_;
  kept_ = pictures.are_named();
  std::unordered_map<std::string, std::string> taken;  // what a name must not share with another → the picture
  std::string before;
  for (const Row* row : job.rows)
    for (const ColumnSpec& column : images)
      if (auto picture = row->values.find(column.name); kept_ && picture != row->values.end()) {
        kept_ = may_keep(*row, picture->second, before, taken);
        before = pictures.own_name(picture->second);
      }
}

bool PictureNames::may_keep(const Row& row, const std::string& picture, const std::string& before, std::unordered_map<std::string, std::string>& taken) const {
  const std::string name = job_.dataset.pictures->own_name(picture);
  if (!is_plain_path(name) || !is_picture_name(name)) return false;
  if (for_ == For::list) return taken.emplace(name, picture).first->second == picture;
  const std::string stem = name.substr(0, name.rfind('.'));  // the caption lies beside it
  if (name <= before) return false;
  if (for_ == For::tree) return taken.emplace(stem, picture).second && job_.times(row) == 1;
  const std::optional<std::string> label = repeat_label(job_.dataset, picture);
  const std::string rest = label ? stem.substr(stem.find('/') + 1) : stem;
  return rest.find('/') == rest.npos && taken.emplace(label.value_or("") + "/" + rest, picture).second;
}

std::string PictureNames::name(const Row& row, const ColumnSpec& column, uint64_t number) const {
  const std::string& picture = name_in(row, column.name);
  if (kept_) return job_.dataset.pictures->own_name(picture);
  auto begin = job_.dataset.pictures->begin(picture, 16, row.where, column.name + " '" + picture + "'").take();
  const char* ending = ending_of(begin);
  if (!ending)
    fail({row.where, "'" + picture + "' begins like no JPEG, PNG or WebP", "", "replace it with the picture itself, or set data.on_error: skip", "E3002", Exit::bad_data});
  return fmt::format("{}{:0{}}{}", several_ ? column.name + "/" : "", number, digits_, ending);
}

void fail_layout(const Conversion& job, const std::string& holds) {
  std::vector<std::string> images, texts;
  for (const ColumnSpec& c : job.columns) (c.is_image ? images : texts).push_back(c.name);
  fail({job.options.config.data.path,
        fmt::format("{} holds {}; this data has the pictures {} and the texts {}", job.options.to, holds, images.empty() ? "(none)" : fmt::format("{}", fmt::join(images, ", ")),
                    texts.empty() ? "(none)" : fmt::format("{}", fmt::join(texts, ", "))),
        "", "choose columns with --task and data.columns, or another layout, as imagefolder", "E2141", Exit::config});
}

}  // namespace t2i
