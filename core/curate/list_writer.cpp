// imagefolder and triplets: pictures, and a metadata.jsonl that names them in the order of the rows.
#include <nlohmann/json.hpp>

#include "core/curate/conversion.h"

namespace t2i {
namespace {

using OrderedJson = nlohmann::ordered_json;

class ListWriter : public LayoutWriter {
  Conversion& job_;
  bool plain_paths_;
  PictureNames names_;
  StagedFile list_;
  std::unordered_map<std::string, std::string> written_;  // picture → its path: rows may share one
  uint64_t number_ = 0;

 public:
  ListWriter(Conversion& job, bool plain_paths)
      : job_(job), plain_paths_(plain_paths), names_(job, PictureNames::For::list), list_(job.staging.folder() / "metadata.jsonl", real_file_system()) {}

  void add(const Row& row) override {
    OrderedJson line;
    for (const ColumnSpec& column : job_.columns) {
      auto value = row.values.find(column.name);
      if (value == row.values.end()) continue;
      line[field(column)] = column.is_image ? path_of(row, column, value->second) : value->second;
    }
    const std::string text = line.dump() + "\n";
    for (uint32_t time = 0; time < job_.times(row); ++time) list_.write(text);
    ++number_;
  }
  void finish() override { list_.close(); }

 private:
  // Hugging Face's imagefolder takes a field for a picture by its name.
  std::string field(const ColumnSpec& column) const {
    if (!column.is_image || plain_paths_) return column.name;
    return column.name == "image" ? "file_name" : column.name + "_file_name";
  }
  std::string path_of(const Row& row, const ColumnSpec& column, const std::string& picture) {
    if (auto known = written_.find(picture); known != written_.end()) return known->second;
    const std::string path = names_.name(row, column, number_);
    job_.put(row, column.name, path);
    return written_.emplace(picture, path).first->second;
  }
};

}  // namespace

std::unique_ptr<LayoutWriter> list_writer(Conversion& job, bool plain_paths) {
  if (plain_paths && (job.images().size() < 2 || job.texts().empty())) fail_layout(job, "pictures before and after, and an instruction");
  if (job.images().empty()) fail_layout(job, "pictures");
  return std::make_unique<ListWriter>(job, plain_paths);
}

}  // namespace t2i
