// Agreement with the reference implementation is tested in tests/test_safetensors_agree.py; here are the rules one by
// one, the messages, and what a disk can do.
#include "core/checkpoint/safetensors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <random>

#include "core/base/hash.h"

using namespace t2i;
namespace stdfs = std::filesystem;

namespace {

std::string with_header(const std::string& header, const std::string& data = "") {
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>(header.size() >> (8 * i) & 255);
  return out + header + data;
}

std::string verdict(const std::string& bytes, const Path& name = "m.safetensors") {
  Result<SafetensorsFile> file = parse_safetensors(as_bytes(bytes), name);
  return file ? "accepted" : to_string(file.error());
}
std::string id(const std::string& bytes, const Path& name = "m.safetensors") {
  Result<SafetensorsFile> file = parse_safetensors(as_bytes(bytes), name);
  return file ? "accepted" : file.error().id;
}

struct Folder {
  Path path = stdfs::temp_directory_path() / ("t2i-safetensors-" + random_hex(16));
  Folder() { stdfs::create_directory(path); }
  ~Folder() { stdfs::remove_all(path); }
};

std::string collected(const std::vector<TensorSource>& tensors, const SafetensorsMetadata& metadata = {}) {
  std::string out;
  stream_safetensors(tensors, metadata,
                     [&](Bytes b) { out.append(reinterpret_cast<const char*>(b.data()), b.size()); });
  return out;
}

const std::string two =
    R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[],"data_offsets":[8,9]}})";

}  // namespace

TEST(Safetensors, ReadsNamesShapesAndBytes) {
  std::string bytes = with_header(two + "   ", "12345678x");
  SafetensorsFile file = parse_safetensors(as_bytes(bytes), "m").take();
  ASSERT_EQ(file.tensors.size(), 2u);
  EXPECT_EQ(file.find("a")->shape, std::vector<int64_t>{2});
  EXPECT_EQ(std::memcmp(file.find("a")->bytes.data(), "12345678", 8), 0);
  EXPECT_EQ(file.find("b")->elements(), 1);
  EXPECT_EQ(file.find("c"), nullptr);
}

TEST(Safetensors, WhatIsLegal) {
  EXPECT_EQ(id(with_header("{}")), "accepted");
  EXPECT_EQ(id(with_header(R"({"__metadata__":{"format":"pt"}})")), "accepted");
  EXPECT_EQ(id(with_header(R"({"z":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]}})")), "accepted");
  EXPECT_EQ(id(with_header(R"({"f":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}})", "ab")), "accepted");
  EXPECT_EQ(
      id(with_header(
          R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
          "ab")),
      "accepted");
  EXPECT_EQ(
      id(with_header(
          R"({"z":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
          "a")),
      "accepted");
}

TEST(Safetensors, EveryRuleIsKept) {
  auto tensor = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"a":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  struct Case {
    std::string bytes, says;
  };
  for (
      const auto& [bytes, says] : std::vector<Case>{
          {"", "it is empty"},
          {"abc\x01", "4 bytes"},
          {with_header(""), "header would have 0 bytes"},
          {with_header(" {}"), "does not begin with '{'"},
          {with_header("{}\n"), "end with '}' and spaces"},
          {with_header("{}\t"), "end with '}' and spaces"},
          {with_header("[]"), "does not begin with '{'"},
          {with_header("{}", "x"), "1 bytes after the last tensor"},
          {with_header("{\"\xff\":1}"), "UTF-8"},
          {with_header("{} {}"), "end of input"},
          {with_header(
               R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})"),
           "comes twice"},
          {with_header(R"({"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}})"), "comes twice"},
          {with_header(R"({"__metadata__":{"a":"b","a":"c"}})"), "comes twice"},
          {with_header(R"({"__metadata__":{"a":1}})"), "no string"},
          {with_header(R"({"__metadata__":null})"), "not an object"},
          {with_header(R"({"a":["U8",[0],[0,0]]})"), "not an object"},
          {with_header(R"({"a":{"shape":[0],"data_offsets":[0,0]}})"), "'dtype' is missing"},
          {with_header(R"({"a":{"dtype":"U8","data_offsets":[0,0]}})"), "'shape' is missing"},
          {with_header(R"({"a":{"dtype":"U8","shape":[0]}})"), "'data_offsets' is missing"},
          {with_header(tensor("\"XX\"", "[1]", "[0,1]"), "a"), "unknown dtype \"XX\""},
          {with_header(tensor("7", "[1]", "[0,1]"), "a"), "unknown dtype 7"},
          {with_header(tensor("\"U8\"", "1", "[0,1]"), "a"), "'shape' is not a list"},
          {with_header(tensor("\"U8\"", "[-1]", "[0,1]"), "a"), "whole number"},
          {with_header(tensor("\"U8\"", "[1.0]", "[0,1]"), "a"), "whole number"},
          {with_header(tensor("\"U8\"", "[9223372036854775808,0]", "[0,0]")), "whole number"},
          {with_header(tensor("\"U8\"", "[9223372036854775807,3,0]", "[0,0]")), "more elements than can be counted"},
          {with_header(tensor("\"F32\"", "[4611686018427387904]", "[0,0]")), "more bits than can be counted"},
          {with_header(tensor("\"F4\"", "[3]", "[0,2]"), "ab"), "whole bytes"},
          {with_header(tensor("\"U8\"", "[1]", "[0,1,2]"), "a"), "not a pair"},
          {with_header(tensor("\"U8\"", "[1]", "[-1,0]"), "a"), "not a pair"},
          {with_header(tensor("\"U8\"", "[1]", "[1,0]"), "a"), "end before they begin"},
          {with_header(tensor("\"F32\"", "[2]", "[0,4]"), "abcd"), "need 8 bytes, data_offsets give 4"},
          {with_header(tensor("\"U8\"", "[1]", "[1,2]"), "ab"), "begins at 1"},
          {with_header(
               R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
               "abc"),
           "begins at 1 where"},
          {with_header(
               R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}})",
               "ab"),
           "'a' begins at 0|'b' begins at 1"},
          {with_header("{" + std::string(100, '[')), "end with '}'"},
      }) {
    std::string text = verdict(bytes);
    EXPECT_NE(text.find("[T2I-E2005]"), std::string::npos) << text;
    std::string first = says.substr(0, says.find('|')),
                second = says.find('|') == says.npos ? first : says.substr(says.find('|') + 1);
    EXPECT_TRUE(text.find(first) != text.npos || text.find(second) != text.npos) << says << "\n" << text;
  }
}

TEST(Safetensors, SizesThatLieAreNotBelieved) {
  std::string huge(8, '\xff');
  EXPECT_EQ(id(huge + "{}"), "E2005");
  std::string more = with_header("{}");
  more[0] = 100;
  EXPECT_EQ(id(more), "E2003");  // the header is said to be longer than the file
  EXPECT_EQ(id(with_header(R"({"a":{"dtype":"U8","shape":[9007199254740993],"data_offsets":[0,9007199254740993]}})")),
            "E2003");
  EXPECT_EQ(
      id(with_header(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[18446744073709551614,18446744073709551615]}})")),
      "E2005");
}

TEST(Safetensors, SaysWhatTheFileIsInstead) {
  std::string pointer =
      "version https://git-lfs.github.com/spec/v1\noid sha256:" + std::string(64, 'a') + "\nsize 3438167536\n";
  EXPECT_EQ(
      verdict(pointer, "unet/diffusion_pytorch_model.safetensors"),
      "unet/diffusion_pytorch_model.safetensors: is " + std::to_string(pointer.size()) +
          " bytes of text: a Git-LFS pointer, not the weights. → git lfs pull, or hf download the model  [T2I-E2002]");
  EXPECT_EQ(
      verdict("\n<!DOCTYPE html>\n<html><head>"),
      "m.safetensors: file begins with \"<!DOCTYPE html>\": this is a web page, not the weights. Usually the model is "
      "gated: the hub "
      "answered with a page. → accept the licence on the model's page, hf auth login, and download again  [T2I-E2004]");
  EXPECT_EQ(id("<HTML>page page"), "E2004");
  EXPECT_EQ(id(std::string("PK\x03\x04", 4) + std::string(100, '\0')), "E2001");
  EXPECT_EQ(id("\x80\x02}q\x01(X\x03" "zabc"), "E2001");
  for (const char* name : {"a.ckpt", "a.bin", "a.pt", "a.pth", "a.pkl", "A.CKPT"})
    EXPECT_EQ(id(with_header("{}"), name), "E2001") << name;
  EXPECT_NE(verdict("x", "models/v1 5.ckpt").find("'models/v1 5.ckpt' 'models/v1 5.safetensors'"), std::string::npos);
  EXPECT_NE(verdict("Entry not found").find("it begins with \"Entry not found\""), std::string::npos);
  EXPECT_NE(verdict("GGUF" + std::string(20, '\3')).find("is a GGUF file"), std::string::npos);
  // A header of 0x280 bytes begins like a pickle and is none.
  std::string header = "{}" + std::string(0x280 - 2, ' ');
  EXPECT_EQ(id(with_header(header)), "accepted");
}

TEST(Safetensors, ACutFileSaysHowMuchIsThere) {
  std::string whole =
      with_header(R"({"a":{"dtype":"U8","shape":[1000],"data_offsets":[0,1000]}})", std::string(1000, 'x'));
  std::string text = verdict(whole.substr(0, whole.size() * 41 / 100 + 1));
  EXPECT_NE(text.find("header promises 1,067 bytes, file has 438 (41 %). The download did not finish. → rerun hf "
                      "download (it resumes)  [T2I-E2003]"),
            std::string::npos)
      << text;
  for (size_t size = 8; size < whole.size(); ++size) EXPECT_EQ(id(whole.substr(0, size)), "E2003") << size;
}

TEST(Safetensors, AFileCutWhileOpenIsAnErrorNotASignal) {
  Folder folder;
  Path path = folder.path / "m.safetensors";
  std::string data(1 << 20, 'x');
  write_safetensors(path, {{"a", Dtype::u8, {1 << 20}, as_bytes(data)}});
  SafetensorsFile file = open_safetensors(path).take();
  EXPECT_FALSE(file.damage());
  ASSERT_EQ(truncate(path.c_str(), 4096), 0);
  long sum = 0;
  for (std::byte b : file.tensors[0].bytes) sum += std::to_integer<int>(b);
  EXPECT_LT(sum, 'x' * 8192);
  ASSERT_TRUE(file.damage());
  EXPECT_EQ(file.damage()->id, "E4108");
  EXPECT_EQ(open_safetensors(path).error().id, "E2003");
}

TEST(Safetensors, WritesWhatItReads) {
  Folder folder;
  std::mt19937 random(3);
  for (int round = 0; round < 50; ++round) {
    std::vector<std::string> data;
    std::vector<TensorSource> tensors;
    SafetensorsMetadata metadata;
    for (unsigned i = random() % 3; i; --i) metadata["k\"" + std::to_string(i)] = "v\n\xc3\xa9";
    unsigned count = random() % 8;
    data.reserve(count);
    for (unsigned i = 0; i < count; ++i) {
      auto dtype = static_cast<Dtype>(random() % 22);
      std::vector<int64_t> shape;
      int64_t elements = 1;
      for (unsigned d = random() % 4; d; --d)
        shape.push_back(static_cast<int64_t>(random() % 4)), elements *= shape.back();
      shape.push_back(4), elements *= 4;  // so that 4- and 6-bit elements fill bytes
      std::string& bytes = data.emplace_back();
      for (int64_t b = 0; b < elements * dtype_bits(dtype) / 8; ++b) bytes += static_cast<char>(random());
      tensors.push_back(
          {"t\xc3\xa4." + std::to_string(random() % 1000) + "." + std::to_string(i), dtype, shape, as_bytes(bytes)});
    }
    Path path = folder.path / "m.safetensors";
    std::string hash = write_safetensors(path, tensors, metadata);
    std::string bytes = read_file(path).take();
    EXPECT_EQ(hash, xxh3_hex(as_bytes(bytes)));
    EXPECT_EQ(safetensors_size(tensors, metadata), bytes.size());
    EXPECT_EQ(collected(tensors, metadata), bytes);
    SafetensorsFile file = open_safetensors(path).take();
    EXPECT_EQ(file.metadata, metadata);
    ASSERT_EQ(file.tensors.size(), tensors.size());
    for (const TensorSource& t : tensors) {
      const TensorEntry* e = file.find(t.name);
      ASSERT_NE(e, nullptr);
      EXPECT_EQ(e->dtype, t.dtype);
      EXPECT_EQ(e->shape, t.shape);
      ASSERT_EQ(e->bytes.size(), t.bytes.size());
      EXPECT_TRUE(std::equal(t.bytes.begin(), t.bytes.end(), e->bytes.begin()));
      if (int bits = dtype_bits(e->dtype); bits >= 8) {  // every tensor lies where its elements can be read in place
        auto data_at = static_cast<size_t>(e->bytes.data() - file.map->bytes().data());
        EXPECT_EQ(data_at % static_cast<size_t>(bits / 8), 0u);
      }
    }
    if (!file.tensors.empty()) {
      EXPECT_EQ((file.tensors[0].bytes.data() - file.map->bytes().data()) % 64, 0);
    }
  }
}

TEST(Safetensors, ProducedInPiecesIsTheSame) {
  std::string data = "0123456789abcdef";
  TensorSource whole{"a", Dtype::f32, {4}, as_bytes(data)};
  TensorSource pieces{"a", Dtype::f32, {4}, {}, [&](const ByteSink& sink) {
                        sink(as_bytes(data).first(5));
                        sink(as_bytes(data).subspan(5));
                      }};
  EXPECT_EQ(collected({whole}), collected({pieces}));
}

TEST(Safetensors, RefusesToWriteWhatItWouldNotRead) {
  std::string data = "0123";
  auto refused = [&](std::vector<TensorSource> tensors, SafetensorsMetadata metadata = {}) {
    try {
      collected(tensors, metadata);
    } catch (const Failure& f) {
      return f.errors[0].id == "E2006";
    }
    return false;
  };
  EXPECT_TRUE(refused({{"a", Dtype::f32, {2}, as_bytes(data)}}));
  EXPECT_TRUE(refused({{"a", Dtype::f32, {-1}, {}}}));
  EXPECT_TRUE(refused({{"a", Dtype::f4, {1}, as_bytes("x")}}));
  EXPECT_TRUE(refused({{"a", Dtype::f32, {1}, as_bytes(data)}, {"a", Dtype::u8, {4}, as_bytes(data)}}));
  EXPECT_TRUE(refused({{"__metadata__", Dtype::f32, {1}, as_bytes(data)}}));
  EXPECT_TRUE(refused({{"\xff", Dtype::f32, {1}, as_bytes(data)}}));
  EXPECT_TRUE(refused({{"a", Dtype::f32, {1}, as_bytes(data)}}, {{"k", "\xff"}}));
  EXPECT_TRUE(refused({{"a", Dtype::f32, {1}, {}, [&](const ByteSink& sink) { sink(as_bytes("12345")); }}}));
  EXPECT_TRUE(refused({{"a", Dtype::f32, {1}, {}, [&](const ByteSink& sink) { sink(as_bytes("123")); }}}));
  EXPECT_FALSE(refused({{"a", Dtype::f32, {1}, as_bytes(data)}}));
}

TEST(Safetensors, FiftyThousandMutationsNeverCrash) {
  std::string good = with_header(two + std::string(64 - (8 + two.size()) % 64, ' '), "12345678x");
  std::mt19937 random(11);
  int accepted = 0;
  for (int i = 0; i < 50'000; ++i) {
    std::string bytes = good;
    for (unsigned n = 1 + random() % 3; n; --n) {
      size_t at = random() % 4 ? 8 + random() % (bytes.size() - 8) : random() % bytes.size();
      switch (random() % 4) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes[at] = "0123456789{}[]\",:-"[random() % 18];
          break;
        case 2:
          bytes.erase(at, 1 + random() % 3);
          break;
        default:
          bytes.insert(at, 1, static_cast<char>(random()));
      }
      if (bytes.size() < 10) bytes += "0123456789";
    }
    Result<SafetensorsFile> file = parse_safetensors(as_bytes(bytes), "m");
    if (!file) continue;
    ++accepted;
    size_t used = 0;
    for (const TensorEntry& t : file->tensors) used += t.bytes.size();
    EXPECT_LE(used, bytes.size());
  }
  EXPECT_GT(accepted, 100);
}
