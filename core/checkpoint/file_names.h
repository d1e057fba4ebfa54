// What a family's single files (as its authors published them, and as other programs read and write them) call the
// parameters of its parts. A model says it in file_names(); sdk/NAMES.md has the form. A table is read in both
// directions: which tensor of a file holds a parameter, and which parameters a tensor to be written is made of.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "core/base/json.h"

namespace t2i {

struct NamedShape {
  std::string name;  // a parameter's, as the part's own files have it
  std::vector<int64_t> shape;
};

struct FileRow {
  // How the tensor differs from the parameter: not; its halves (of rows) are exchanged; it is transposed; it is a 1x1
  // convolution's; it is left out where it is the identity; it is the parameter once more, beside another row's.
  enum class Change { none, swapped, transposed, conv1x1, identity, copy };
  std::string file;                     // the tensor; one that ends in '.', or is empty, stands for all that begin so
  std::vector<std::string> parameters;  // likewise; several lie in the tensor one behind another, by rows
  Change change = Change::none;
};

// One way to name a part's tensors.
struct FileForm {
  std::vector<std::string> prefixes;  // before every name; the first is written
  std::vector<FileRow> rows;          // of several for one parameter the first is written, all are looked for
  bool own = false;                   // the part's own names, as its folder has them: such a file may use older ones too
  std::vector<std::string> ignored{}; // may be there and hold no parameter; one that ends in '.' stands for all that begin so
};
using FileNames = std::map<std::string, std::vector<FileForm>>;  // by part; the first form is written

// `who` is named in the error (E2036) where the text is not of its form.
Result<FileNames> parse_file_names(const Json& json, const std::string& who);

// A place that may hold a parameter: the tensor without its prefix, its row, and the parameter's place among the row's.
struct FilePlace {
  std::string tensor;
  const FileRow* row;
  size_t at;
};
// In the order of the rows; empty where the table does not know the parameter.
std::vector<FilePlace> places_of(const FileForm& form, const std::string& parameter);
// The parameters that lie in a place's tensor, in their order.
std::vector<std::string> parameters_at(const FilePlace& place, const std::string& parameter);

// A tensor of a file to be written.
struct FileTensor {
  std::string name;                // with the first prefix
  std::vector<size_t> parameters;  // places in `parameters`, one behind another
  FileRow::Change change;
};
// All tensors of a part. E2036 where the table leaves a parameter out, or mixes such as do not belong together.
Result<std::vector<FileTensor>> tensors_to_write(const FileForm& form, const std::vector<NamedShape>& parameters,
                                                 const std::string& who);

bool is_ignored(const FileForm& form, std::string_view tensor);  // `tensor` without prefix

}  // namespace t2i
