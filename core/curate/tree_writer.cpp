// image_txt: each picture with its caption beside it. kohya: the same in folders that say how often their pictures count.
#include <fmt/format.h>

#include "core/curate/conversion.h"

namespace t2i {
namespace {

constexpr uint32_t most_repeats = 1000;  // a larger number in a folder's name is not read as repeats

class TreeWriter : public LayoutWriter {
  Conversion& job_;
  bool repeat_folders_;
  PictureNames names_;
  ColumnSpec image_, text_;
  uint64_t number_ = 0;

 public:
  TreeWriter(Conversion& job, bool repeat_folders)
      : job_(job), repeat_folders_(repeat_folders), names_(job, repeat_folders ? PictureNames::For::repeat_folders : PictureNames::For::tree),
        image_(job.images().front()), text_(job.texts().front()) {}

  void add(const Row& row) override {
    if (!row.values.contains(image_.name)) return;
    if (repeat_folders_) return put(row, folder_of(row) + "/");
    for (uint32_t time = 0; time < job_.times(row); ++time) put(row, "");
  }

 private:
  void put(const Row& row, const std::string& folder) {
    std::string path = names_.name(row, image_, number_++);
    if (repeat_folders_ && repeat_label(job_.dataset, path)) path = path.substr(path.find('/') + 1);
    path = folder + path;
    job_.put(row, image_.name, path);
    auto text = row.values.find(text_.name);
    if (text != row.values.end()) job_.staging.write(path.substr(0, path.rfind('.')) + ".txt", as_bytes(text->second));
  }

  std::string folder_of(const Row& row) const {
    const uint32_t times = job_.times(row);
    if (times > most_repeats)
      fail({row.where, fmt::format("counts {} times, and a folder says {} at most", times, most_repeats), "", "convert with --once", "E2141", Exit::config});
    std::string label = job_.options.name;
    if (label.empty()) label = repeat_label(job_.dataset, row.values.at(image_.name)).value_or(Path(job_.options.output).filename().string());
    return fmt::format("{}_{}", times, label);
  }
};

}  // namespace

std::unique_ptr<LayoutWriter> tree_writer(Conversion& job, bool repeat_folders) {
  if (job.images().size() != 1 || job.texts().size() != 1) fail_layout(job, "one picture and one text a row");
  return std::make_unique<TreeWriter>(job, repeat_folders);
}

}  // namespace t2i
