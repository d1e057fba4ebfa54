#include "core/checkpoint/file_names.h"

#include <algorithm>

namespace t2i {
namespace {

bool is_tree(std::string_view name) { return name.empty() || name.ends_with('.'); }

Error unsound(const std::string& who, const std::string& what) {
  return {who, what, "", "tell the plugin's author; sdk/NAMES.md has the form", "E2036", Exit::bad_data};
}

std::optional<FileRow::Change> change_named(const std::string& name) {
  if (name == "swapped") return FileRow::Change::swapped;
  if (name == "transposed") return FileRow::Change::transposed;
  if (name == "conv1x1") return FileRow::Change::conv1x1;
  if (name == "identity") return FileRow::Change::identity;
  if (name == "copy") return FileRow::Change::copy;
  return std::nullopt;
}

// Throws Json::exception and Failure.
FileRow row_of(const Json& json, const std::string& who) {
  if (json.size() < 2 || json.size() > 3) fail(unsound(who, "a row is not [tensor, parameters] or [tensor, parameters, change]: " + json.dump()));
  FileRow row{json.at(0).get<std::string>(), {}, FileRow::Change::none};
  if (json.at(1).is_string()) row.parameters = {json.at(1).get<std::string>()};
  else row.parameters = json.at(1).get<std::vector<std::string>>();
  bool alike = !row.parameters.empty() && std::ranges::all_of(row.parameters, [&](const std::string& p) { return is_tree(p) == is_tree(row.file); });
  if (!alike) fail(unsound(who, "names that end in '.' stand beside such as do not: " + json.dump()));
  if (json.size() == 3) {
    auto change = change_named(json.at(2).get<std::string>());
    if (!change || row.parameters.size() > 1) fail(unsound(who, "has no such change for these: " + json.dump()));
    row.change = *change;
  }
  return row;
}

bool differ_in_rows_alone(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  return !a.empty() && a.size() == b.size() && std::equal(a.begin() + 1, a.end(), b.begin() + 1);
}

}  // namespace

Result<FileNames> parse_file_names(const Json& json, const std::string& who) {
  FileNames names;
  try {
    for (const auto& [part, forms] : json.items()) {
      std::vector<FileForm>& list = names[part];
      for (const Json& given : forms) {
        FileForm form;
        form.prefixes = given.at("prefixes").get<std::vector<std::string>>();
        if (form.prefixes.empty()) return unsound(who, "'" + part + "' has no prefixes");
        for (const Json& row : given.at("tensors")) form.rows.push_back(row_of(row, who));
        form.ignored = given.value("ignored", std::vector<std::string>());
        list.push_back(std::move(form));
      }
    }
  } catch (const Json::exception& e) {
    return unsound(who, std::string("is not of its form: ") + e.what());
  } catch (const Failure& f) {
    return f.errors.front();
  }
  return names;
}

std::vector<FilePlace> places_of(const FileForm& form, const std::string& parameter) {
  std::vector<FilePlace> places;
  for (const FileRow& row : form.rows)
    for (size_t i = 0; i < row.parameters.size(); ++i) {
      const std::string& p = row.parameters[i];
      if (is_tree(p) ? parameter.starts_with(p) : parameter == p)
        places.push_back({row.file + (is_tree(p) ? parameter.substr(p.size()) : ""), &row, i});
    }
  return places;
}

std::vector<std::string> parameters_at(const FilePlace& place, const std::string& parameter) {
  std::vector<std::string> names = place.row->parameters;
  const std::string& own = names[place.at];
  if (const std::string rest = parameter.substr(own.size()); is_tree(own))
    for (std::string& name : names) name += rest;
  return names;
}

Result<std::vector<FileTensor>> tensors_to_write(const FileForm& form, const std::vector<NamedShape>& parameters,
                                                 const std::string& who) {
  std::map<std::string, size_t> number;
  for (size_t i = 0; i < parameters.size(); ++i) number[parameters[i].name] = i;
  std::vector<FileTensor> tensors;
  std::map<std::string, size_t> known;  // name → place in `tensors`
  for (const NamedShape& parameter : parameters) {
    std::vector<FilePlace> places = places_of(form, parameter.name);
    if (places.empty()) return unsound(who, "leaves out the parameter '" + parameter.name + "'");
    for (const FilePlace& place : places) {
      if (&place != &places.front() && place.row->change != FileRow::Change::copy) continue;
      FileTensor tensor{form.prefixes.front() + place.tensor, {}, place.row->change};
      const std::vector<std::string> members = parameters_at(place, parameter.name);
      for (const std::string& member : members) {
        auto at = number.find(member);
        if (at == number.end())
          return unsound(who, "puts '" + parameter.name + "' beside '" + member + "' in '" + place.tensor + "', which the part does not have");
        tensor.parameters.push_back(at->second);
        if (members.size() > 1 && !differ_in_rows_alone(parameter.shape, parameters[at->second].shape))
          return unsound(who, "puts '" + parameter.name + "' and '" + member + "' into one tensor, which differ in more than their rows");
      }
      auto [seen, is_new] = known.emplace(tensor.name, tensors.size());
      if (is_new) tensors.push_back(std::move(tensor));
      else if (tensors[seen->second].parameters != tensor.parameters)
        return unsound(who, "has several parameters for '" + tensor.name + "', '" + parameter.name + "' among them");
    }
  }
  return tensors;
}

bool is_ignored(const FileForm& form, std::string_view tensor) {
  return std::ranges::any_of(form.ignored, [&](const std::string& name) {
    return is_tree(name) ? !name.empty() && tensor.starts_with(name) : tensor == name;
  });
}

}  // namespace t2i
