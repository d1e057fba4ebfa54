#include "core/data_options.h"

#include "core/data/text.h"

namespace t2i {
namespace {

class PluginTable : public Table {
  DatasetFiles files_;
  std::vector<TableColumn> columns_;

 public:
  PluginTable(const Component& component, const std::vector<std::string>& files) : files_(component, files) {
    for (const DatasetColumn& column : files_.columns())
      columns_.push_back({column.name, column.kind == "text"      ? TableColumn::Kind::text
                                       : column.kind == "picture" ? TableColumn::Kind::picture
                                                                  : TableColumn::Kind::other});
  }
  const std::vector<uint64_t>& rows() const override { return files_.rows(); }
  const std::vector<TableColumn>& columns() const override { return columns_; }
  Result<std::optional<TableCell>> read(uint64_t row, size_t column) const override {
    auto cell = files_.read(row, column);
    if (!cell) return cell.error();
    std::optional<TableCell> out;
    if (*cell) out = TableCell{std::move((*cell)->bytes), std::move((*cell)->name)};
    return out;
  }
};

}  // namespace

Component table_component(Registry& registry, const std::string& file) {
  const std::string ending = extension_of(file);
  const std::vector<Component> all = registry.list();
  if (const Component* found = find_dataset(all, ending)) return *found;
  std::vector<Error> errors{{file, "no plugin is installed that opens ." + ending + " files",
                             "Parquet and Arrow need the plugin that is built where the pyarrow wheel is found",
                             "install pyarrow in .venv as tools/setup.sh does, configure and build again; or write the data set as pictures with a metadata.jsonl",
                             "E2132", Exit::missing}};
  for (const Error& refused : registry.refused()) errors.push_back(refused);  // it may be among these
  throw Failure(std::move(errors));
}

DatasetOptions dataset_options(const Config& config, Registry& registry) {
  DatasetOptions options;
  options.allow_outside = config.data.allow_outside;
  options.skip_bad_files = config.data.on_error == "skip";
  options.folder_repeats = config.data.folder_repeats;
  if (config.data.caption_missing == "empty") options.caption_missing = CaptionMissing::empty;
  if (config.data.caption_missing == "filename") options.caption_missing = CaptionMissing::filename;
  options.open_table = [&registry](const std::vector<std::string>& files) -> std::unique_ptr<Table> {
    return std::make_unique<PluginTable>(table_component(registry, files.front()), files);
  };
  return options;
}

}  // namespace t2i
