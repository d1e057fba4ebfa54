// Whole families are held against diffusers in tests/test_single_files.py; here is what a table and a reader do with each
// kind of row, and what is refused.
#include "core/checkpoint/single_file.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

using namespace t2i;
namespace stdfs = std::filesystem;

namespace {

struct SingleFile : testing::Test {
  Path root = stdfs::temp_directory_path() / ("t2i-single-" + random_hex(16));
  Path path = root / "m.safetensors";
  std::vector<std::vector<float>> data;
  std::vector<TensorSource> tensors;

  void SetUp() override { stdfs::create_directories(root); }
  void TearDown() override { stdfs::remove_all(root); }

  // 0, 1, 2, … from `first` on, so that every element is known by its value.
  void put(const std::string& name, std::vector<int64_t> shape, float first) {
    int64_t n = 1;
    for (int64_t d : shape) n *= d;
    data.emplace_back(static_cast<size_t>(n));
    std::iota(data.back().begin(), data.back().end(), first);
    tensors.push_back({name, Dtype::f32, shape, {}, {}});
  }
  SafetensorsFile file() {
    for (size_t i = 0; i < data.size(); ++i) tensors[i].bytes = std::as_bytes(std::span(data[i]));
    write_safetensors(path, tensors);
    return open_single_file(path).take();
  }
};

std::vector<float> values(const TensorEntry* entry) {
  if (!entry) return {};
  std::vector<float> out(entry->bytes.size() / sizeof(float));
  std::memcpy(out.data(), entry->bytes.data(), entry->bytes.size());
  return out;
}

FileNames table(const char* text) { return parse_file_names(Json::parse(text), "table").take(); }

const char* const forms = R"({"net": [{"prefixes": ["model.", ""], "ignored": ["loss.", "position_ids"], "tensors": [
  ["blocks.0.qkv.", ["a.q.", "a.k.", "a.v."]],
  ["last.", "norm_out.", "swapped"],
  ["projection", "projection.weight", "transposed"],
  ["attn.", "attn.to_q.", "conv1x1"],
  ["extra.weight", "extra.weight", "identity"],
  ["in.", "conv_in."], ["older_in.", "conv_in."], ["again", "projection.weight", "copy"]]}]})";

const std::vector<NamedShape> parameters = {
    {"a.q.weight", {1, 2}}, {"a.k.weight", {1, 2}}, {"a.v.weight", {2, 2}}, {"a.q.bias", {1}}, {"a.k.bias", {1}},
    {"a.v.bias", {2}}, {"norm_out.weight", {4, 1}}, {"projection.weight", {2, 3}}, {"attn.to_q.weight", {2, 2}},
    {"extra.weight", {2, 2}}, {"conv_in.weight", {1, 1, 1, 1}}};

void put_all(SingleFile& t) {
  t.put("model.blocks.0.qkv.weight", {4, 2}, 0);
  t.put("model.blocks.0.qkv.bias", {4}, 20);
  t.put("model.last.weight", {4, 1}, 30);
  t.put("model.projection", {3, 2}, 40);
  t.put("model.attn.weight", {2, 2, 1, 1}, 50);
  t.put("model.older_in.weight", {1, 1, 1, 1}, 60);
}

}  // namespace

TEST_F(SingleFile, GivesEveryParameterByItsOwnName) {
  put_all(*this);
  put("model.position_ids", {1}, 0);
  put("model.loss.weight", {1}, 0);
  put("model.stranger", {1}, 9);
  put("other.stranger", {1}, 9);
  FileNames names = table(forms);
  SafetensorsFile opened = file();
  std::optional<PartInFile> found = find_part(opened, names["net"], parameters, false);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->prefix, "model.");
  EXPECT_TRUE(found->missing.empty());
  const MappedFile& map = *opened.map;
  WeightSet set = part_of_file(std::move(opened), *found, parameters).take();
  EXPECT_EQ(values(set.find("a.q.weight")), (std::vector<float>{0, 1}));
  EXPECT_EQ(values(set.find("a.k.weight")), (std::vector<float>{2, 3}));
  EXPECT_EQ(values(set.find("a.v.weight")), (std::vector<float>{4, 5, 6, 7}));
  EXPECT_EQ(set.find("a.v.weight")->shape, (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(values(set.find("a.v.bias")), (std::vector<float>{22, 23}));
  EXPECT_EQ(values(set.find("norm_out.weight")), (std::vector<float>{32, 33, 30, 31}));
  EXPECT_EQ(values(set.find("projection.weight")), (std::vector<float>{40, 42, 44, 41, 43, 45}));
  EXPECT_EQ(set.find("projection.weight")->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(set.find("attn.to_q.weight")->shape, (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(values(set.find("extra.weight")), (std::vector<float>{1, 0, 0, 1}));
  EXPECT_EQ(values(set.find("conv_in.weight")), (std::vector<float>{60}));
  EXPECT_TRUE(set.find("model.stranger"));  // for the loader to tell of
  EXPECT_EQ(set.tensors.size(), parameters.size() + 1);

  // Slices lie in the map, and giving one back leaves its neighbours as they are.
  auto inside = [&](const TensorEntry* e) {
    return e->bytes.data() >= map.bytes().data() && e->bytes.data() + e->bytes.size() <= map.bytes().data() + map.bytes().size();
  };
  EXPECT_TRUE(inside(set.find("a.k.weight")) && inside(set.find("attn.to_q.weight")));
  EXPECT_FALSE(inside(set.find("norm_out.weight")) || inside(set.find("projection.weight")) || inside(set.find("extra.weight")));
  for (const auto& [name, entry] : set.tensors) set.unload(*entry);
  EXPECT_EQ(values(set.find("a.k.weight")), (std::vector<float>{2, 3}));
  EXPECT_EQ(values(set.find("norm_out.weight")), (std::vector<float>{32, 33, 30, 31}));
  WeightSet moved = std::move(set);
  EXPECT_EQ(values(moved.find("projection.weight")), (std::vector<float>{40, 42, 44, 41, 43, 45}));
}

TEST_F(SingleFile, TellsWhatIsMissingByTheFilesNames) {
  put_all(*this);
  tensors.erase(tensors.begin(), tensors.begin() + 2), data.erase(data.begin(), data.begin() + 2);
  FileNames names = table(forms);
  std::optional<PartInFile> found = find_part(file(), names["net"], parameters, false);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->missing, (std::vector<std::string>{"model.blocks.0.qkv.weight", "model.blocks.0.qkv.bias"}));
}

// The identity is square: of another shape nothing stands for the tensor, and nothing is made of the numbers behind it.
TEST_F(SingleFile, MissesAnIdentityThatIsNotSquare) {
  put_all(*this);
  FileNames names = table(forms);
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{2, 3}, {3, 2}, {2}, {2, 2, 1}}) {
    std::vector<NamedShape> other = parameters;
    for (NamedShape& p : other)
      if (p.name == "extra.weight") p.shape = shape;
    SafetensorsFile opened = file();
    std::optional<PartInFile> found = find_part(opened, names["net"], other, false);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->missing, (std::vector<std::string>{"model.extra.weight"}));
    WeightSet set = part_of_file(std::move(opened), *found, other).take();
    EXPECT_FALSE(set.find("extra.weight"));
  }
}

TEST_F(SingleFile, NamesWithoutPrefixCountForAFileOfOnePart) {
  put("in.weight", {1, 1, 1, 1}, 1);
  FileNames names = table(forms);
  SafetensorsFile opened = file();
  EXPECT_FALSE(find_part(opened, names["net"], parameters, false));
  std::optional<PartInFile> found = find_part(opened, names["net"], parameters, true);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->found, 1u);
  ASSERT_TRUE(tensor_of(opened, *found, "conv_in.weight"));
  EXPECT_FALSE(tensor_of(opened, *found, "norm_out.weight"));
}

TEST_F(SingleFile, HandsOnWhatHasAnotherShape) {
  put_all(*this);
  tensors[0].shape = {8, 1};
  FileNames names = table(forms);
  SafetensorsFile opened = file();
  PartInFile found = *find_part(opened, names["net"], parameters, false);
  WeightSet set = part_of_file(std::move(opened), found, parameters).take();
  EXPECT_EQ(set.find("a.k.weight")->shape, (std::vector<int64_t>{8, 1}));
}

TEST_F(SingleFile, RefusesPackedWeights) {
  for (const char* name : {"scaled_fp8", "a.scale_weight", "a.weight.absmax", "a.weight.quant_state.bitsandbytes__nf4"}) {
    tensors.clear(), data.clear();
    put(name, {1}, 0);
    for (size_t i = 0; i < data.size(); ++i) tensors[i].bytes = std::as_bytes(std::span(data[i]));
    write_safetensors(path, tensors);
    Result<SafetensorsFile> refused = open_single_file(path);
    ASSERT_FALSE(refused) << name;
    EXPECT_EQ(refused.error().id, "E2018");
  }
}

TEST(FileNames, WritesEachTensorOnce) {
  FileNames names = table(forms);
  std::vector<FileTensor> all = tensors_to_write(names["net"][0], parameters, "table").take();
  std::vector<std::string> written;
  for (const FileTensor& t : all) written.push_back(t.name);
  EXPECT_EQ(written, (std::vector<std::string>{"model.blocks.0.qkv.weight", "model.blocks.0.qkv.bias", "model.last.weight", "model.projection",
                                               "model.again", "model.attn.weight", "model.extra.weight", "model.in.weight"}));
  EXPECT_EQ(all[0].parameters, (std::vector<size_t>{0, 1, 2}));
}

TEST(FileNames, RefusesTablesThatDoNotHold) {
  auto refused = [](const char* text) {
    Result<FileNames> names = parse_file_names(Json::parse(text), "table");
    if (!names) return names.error().id == "E2036" ? names.error().what : "another error";
    Result<std::vector<FileTensor>> tensors = tensors_to_write((*names)["net"].at(0), parameters, "table");
    return tensors ? std::string() : tensors.error().what;
  };
  auto rows = [](const std::string& text) { return R"({"net": [{"prefixes": [""], "tensors": [)" + text + "]}]}"; };
  EXPECT_NE(refused(R"({"net": [{"tensors": []}]})").find("not of its form"), std::string::npos);
  EXPECT_NE(refused(R"({"net": [{"prefixes": [], "tensors": []}]})").find("no prefixes"), std::string::npos);
  EXPECT_NE(refused(rows(R"(["a"])").c_str()).find("a row is not"), std::string::npos);
  EXPECT_NE(refused(rows(R"(["a.", "b"])").c_str()).find("names that end in '.'"), std::string::npos);
  EXPECT_NE(refused(rows(R"(["a", "b", "shaken"])").c_str()).find("no such change"), std::string::npos);
  EXPECT_NE(refused(rows(R"(["a.", "a."])").c_str()).find("leaves out the parameter 'norm_out.weight'"), std::string::npos);
  EXPECT_NE(refused(rows(R"(["x.", ["a.q.", "a.z."]], ["", ""])").c_str()).find("which the part does not have"), std::string::npos);
  EXPECT_NE(refused(rows(R"(["x.", "a.q."], ["x.", "a.k."], ["", ""])").c_str()).find("has several parameters for 'x.weight'"), std::string::npos);
  EXPECT_NE(refused(rows(R"(["x.", ["a.q.", "attn.to_q."]], ["", ""])").c_str()).find("beside 'attn.to_q.bias'"), std::string::npos);
  EXPECT_EQ(refused(rows(R"(["", ""])").c_str()), "");
}
