#include "core/plug/dataset.h"

#include <algorithm>

#include "core/plug/host.h"

namespace t2i {
namespace {

Error unreadable(const std::string& where, const std::string& why) {
  return {where, "this table cannot be read: " + why, "", "write it anew, or convert it to another layout", "E2135", Exit::bad_data};
}

const t2i_dataset& table_of(const Component& component) { return *static_cast<const t2i_dataset*>(component.impl); }

}  // namespace

const Component* find_dataset(const std::vector<Component>& all, const std::string& ending) {
  auto found = std::find_if(all.begin(), all.end(), [&](const Component& c) {
    return c.kind == "dataset" && std::find(c.opens.begin(), c.opens.end(), ending) != c.opens.end();
  });
  return found == all.end() ? nullptr : &*found;
}

DatasetFiles::DatasetFiles(const Component& component, const std::vector<std::string>& files)
    : component_(component), where_(files.empty() ? "" : files.front()) {
  const t2i_dataset& api = table_of(component_);
  std::vector<const char*> names;
  for (const std::string& file : files) names.push_back(file.c_str());
  set_last_error(T2I_OK, "");
  if (api.open("{}", names.data(), static_cast<uint32_t>(names.size()), &self_)) fail(unreadable(where_, last_error_text()));
  try {
    const char* text = nullptr;
    if (api.describe(self_, &text) || !text) fail(unreadable(where_, last_error_text()));
    const Json about = parse_json(text, "dataset '" + component_.id + "' describe()").take();
    rows_ = about.at("rows").get<std::vector<uint64_t>>();
    for (const Json& column : about.at("columns")) columns_.push_back({column.at("name").get<std::string>(), column.at("kind").get<std::string>()});
  } catch (const Json::exception& e) {
    api.close(self_);
    fail(unreadable(where_, "dataset '" + component_.id + "' describe() gives " + e.what()));
  } catch (...) {
    api.close(self_);
    throw;
  }
}

DatasetFiles::~DatasetFiles() { table_of(component_).close(self_); }

Result<std::optional<DatasetCell>> DatasetFiles::read(uint64_t row, size_t column) const {
  std::optional<DatasetCell> cell;
  t2i_cell_sink sink{sizeof(t2i_cell_sink), &cell, [](void* ctx, const t2i_cell* given) {
                       return guard([&] {
                         auto& out = *static_cast<std::optional<DatasetCell>*>(ctx);
                         if (!given->data) return;
                         out = DatasetCell{{static_cast<const char*>(given->data), given->bytes}, given->name ? given->name : ""};
                       });
                     }};
  set_last_error(T2I_OK, "");
  if (table_of(component_).read(self_, row, static_cast<uint32_t>(column), &sink)) return unreadable(where_, last_error_text());
  return cell;
}

DatasetWriter::DatasetWriter(const Component& component, const std::string& file, const std::vector<DatasetColumn>& columns)
    : component_(component), file_(file) {
  Json list = Json::array();
  for (const DatasetColumn& column : columns) list.push_back({{"name", column.name}, {"kind", column.kind}});
  set_last_error(T2I_OK, "");
  require(api().create("{}", file.c_str(), list.dump().c_str(), &writer_));
}

DatasetWriter::~DatasetWriter() {
  if (writer_) api().discard(writer_);
}

void DatasetWriter::require(int32_t code) const {
  if (code)
    fail({file_, "this table cannot be written: " + last_error_text(), "", "check the disk and the permissions, then run the same command again", "E2136", Exit::io});
}

void DatasetWriter::append(const std::vector<std::optional<DatasetCell>>& cells) {
  std::vector<t2i_cell> given;
  for (const auto& cell : cells)
    given.push_back(cell ? t2i_cell{cell->bytes.data(), cell->bytes.size(), cell->name.empty() ? nullptr : cell->name.c_str()} : t2i_cell{});
  require(api().append(writer_, given.data(), static_cast<uint32_t>(given.size())));
}

void DatasetWriter::finish() { require(api().finish(writer_)); }

}  // namespace t2i
