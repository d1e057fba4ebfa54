#include "writer.hpp"

#include <arrow/io/file.h>
#include <parquet/properties.h>

#include "columns.hpp"

namespace arrow_files {
namespace {

// As many rows as datasets puts into a group where there are pictures: what is read at once for one of them.
constexpr int64_t rows_of_a_group = 100, bytes_of_a_group = int64_t{256} << 20;

std::shared_ptr<arrow::DataType> picture_type() { return arrow::struct_({arrow::field("bytes", arrow::binary()), arrow::field("path", arrow::utf8())}); }

}  // namespace

Writer::Writer(const t2i::Json&, const char* file, const t2i::Json& columns) {
  arrow::FieldVector fields;
  t2i::Json features = t2i::Json::object();
  parquet::WriterProperties::Builder properties;
  properties.compression(parquet::Compression::SNAPPY);
  for (const t2i::Json& column : columns) {
    const auto name = column.at("name").get<std::string>();
    const bool picture = column.at("kind") == "picture";
    fields.push_back(arrow::field(name, picture ? picture_type() : arrow::utf8()));
    features[name] = picture ? t2i::Json{{"_type", "Image"}} : t2i::Json{{"dtype", "string"}, {"_type", "Value"}};
    if (picture) properties.compression(name + ".bytes", parquet::Compression::UNCOMPRESSED)->disable_dictionary(name + ".bytes");  // is packed already
    std::unique_ptr<arrow::ArrayBuilder> builder;
    require(arrow::MakeBuilder(arrow::default_memory_pool(), fields.back()->type(), &builder));
    builders_.push_back(std::move(builder));
  }
  // What datasets reads its features from.
  const t2i::Json info = {{"info", {{"features", features}}}};
  schema_ = arrow::schema(fields, arrow::key_value_metadata({"huggingface"}, {info.dump()}));
  out_ = value(arrow::io::FileOutputStream::Open(file));
  const auto arrow_properties = parquet::ArrowWriterProperties::Builder().store_schema()->build();
  writer_ = value(parquet::arrow::FileWriter::Open(*schema_, arrow::default_memory_pool(), out_, properties.build(), arrow_properties));
}

void Writer::append(std::span<const t2i_cell> cells) {
  if (cells.size() != builders_.size()) t2i::fail("a row has " + std::to_string(cells.size()) + " cells, not " + std::to_string(builders_.size()));
  for (size_t i = 0; i < cells.size(); ++i) {
    const t2i_cell& cell = cells[i];
    const std::string_view bytes(static_cast<const char*>(cell.data), cell.data ? cell.bytes : 0);
    bytes_ += static_cast<int64_t>(bytes.size());
    if (!cell.data) {
      require(builders_[i]->AppendNull());
    } else if (builders_[i]->type()->id() == arrow::Type::STRUCT) {
      auto& picture = static_cast<arrow::StructBuilder&>(*builders_[i]);
      require(picture.Append());
      require(static_cast<arrow::BinaryBuilder&>(*picture.field_builder(0)).Append(bytes));
      auto& path = static_cast<arrow::StringBuilder&>(*picture.field_builder(1));
      require(cell.name ? path.Append(cell.name) : path.AppendNull());
    } else {
      require(static_cast<arrow::StringBuilder&>(*builders_[i]).Append(bytes));
    }
  }
  if (++rows_ == rows_of_a_group || bytes_ >= bytes_of_a_group) write_group();
}

void Writer::write_group() {
  if (rows_ == 0) return;
  arrow::ArrayVector arrays;
  for (auto& builder : builders_) arrays.push_back(value(builder->Finish()));
  require(writer_->WriteTable(*arrow::Table::Make(schema_, arrays, rows_), rows_));
  rows_ = bytes_ = 0;
}

void Writer::finish() {
  write_group();
  require(writer_->Close());
  require(out_->Close());
}

}  // namespace arrow_files
