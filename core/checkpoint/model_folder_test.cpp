// Folders made by diffusers and by the hub's own client are read in tests/test_model_files.py; here is what can be
// wrong.
#include "core/checkpoint/model_folder.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

using namespace t2i;
namespace stdfs = std::filesystem;

namespace {

void put(const Path& path, std::string_view text) {
  stdfs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

void put_weights(const Path& path, const std::vector<std::string>& names) {
  stdfs::create_directories(path.parent_path());
  static const std::string data(8, 'w');
  std::vector<TensorSource> tensors;
  for (const std::string& name : names) tensors.push_back({name, Dtype::f32, {2}, as_bytes(data)});
  write_safetensors(path, tensors);
}

template <class T>
std::string message(const Result<T>& r) {
  return r ? "accepted" : to_string(r.error());
}

struct ModelFiles : testing::Test {
  Path root = stdfs::temp_directory_path() / ("t2i-model-" + random_hex(16));
  Path model = root / "tiny";
  void SetUp() override {
    setenv("HF_HUB_CACHE", (root / "cache").c_str(), 1);
    put(model / "model_index.json",
        R"({"_class_name": "APipeline", "_diffusers_version": "0.42.1", "flag": true, "vae": ["diffusers", "AutoencoderKL"],
            "unet": ["diffusers", "UNet"], "text_encoder": ["transformers", "CLIPTextModel"], "image_encoder": [null, null],
            "safety_checker": ["stable_diffusion", "Checker"], "scheduler": ["diffusers", "S"], "tokenizer": ["transformers", "T"]})");
    for (const char* part : {"vae", "unet", "text_encoder"})
      put(model / part / "config.json", R"({"_class_name": "C", "width": 8})");
    put(model / "scheduler/scheduler_config.json", R"({"beta_start": 0.1})");
    stdfs::create_directory(model / "tokenizer");
  }
  void TearDown() override {
    unsetenv("HF_HUB_CACHE");
    stdfs::remove_all(root);
  }
  ModelPart unet() { return *open_model_folder(model.string()).take().part("unet").take(); }
  Path file(const char* name) { return model / "unet" / name; }
};

}  // namespace

TEST_F(ModelFiles, ReadsPartsClassesAndConfigurations) {
  ModelFolder m = open_model_folder(model.string()).take();
  EXPECT_EQ(m.pipeline_class, "APipeline");
  EXPECT_EQ(m.parts.size(), 5u);
  EXPECT_EQ(m.find("vae")->class_name, "AutoencoderKL");
  EXPECT_EQ(m.find("vae")->config["width"], 8);
  EXPECT_EQ(m.find("scheduler")->config["beta_start"], 0.1);
  EXPECT_TRUE(m.find("tokenizer")->config.is_null());
  EXPECT_EQ(m.find("image_encoder"), nullptr);
  EXPECT_EQ(m.absent, std::vector<std::string>{"safety_checker"});
  EXPECT_NE(message(m.part("safety_checker")).find("the folder has no safety_checker/"), std::string::npos);
  EXPECT_NE(message(m.part("transformer")).find("no part 'transformer'; it has scheduler, text_encoder"),
            std::string::npos);
  ModelPart alone = open_model_part((model / "vae/").string(), "vae").take();
  EXPECT_EQ(alone.class_name, "C");
  EXPECT_EQ(alone.given, (model / "vae/").string());
  ModelPart within = open_model_part(model.string(), "vae").take();
  EXPECT_EQ(within.folder, model / "vae");
  EXPECT_EQ(within.given, (model / "vae").string());
}

TEST_F(ModelFiles, APathThatIsNotThereNamesTheNearestOrTheDownload) {
  std::string text = message(open_model_folder((root / "tinny").string()));
  EXPECT_NE(text.find("there is no such folder. Did you mean '" + model.string() + "'?"), std::string::npos) << text;
  EXPECT_NE(text.find("[T2I-E2011]"), std::string::npos);
  text = message(open_model_folder("org/name-1.5"));
  EXPECT_NE(text.find("it is not in the cache " + (root / "cache").string()), std::string::npos) << text;
  EXPECT_NE(text.find("→ hf download org/name-1.5 --include '*.json' --include "), std::string::npos) << text;
  EXPECT_EQ(open_model_folder("org/name-1.5").error().exit, Exit::missing);
  EXPECT_EQ(message(open_model_folder("a/b/c")).find("hf download a/b/c"), std::string::npos);
  EXPECT_EQ(message(open_model_folder("../name")).find("--include"), std::string::npos);
}

TEST_F(ModelFiles, TheHubsCacheIsLookedUp) {
  Path repository = root / "cache/models--org--name";
  stdfs::create_directories(repository / "snapshots");
  stdfs::rename(model, repository / "snapshots/abc");
  EXPECT_EQ(resolve_model("org/name").take(), repository / "snapshots/abc");  // the only one
  stdfs::create_directories(repository / "snapshots/def");
  EXPECT_EQ(resolve_model("org/name").error().id, "E2011");
  put(repository / "refs/main", "abc\n");
  EXPECT_EQ(open_model_folder("org/name").take().root, repository / "snapshots/abc");
  put(repository / "refs/main", "def");
  EXPECT_NE(message(open_model_folder("org/name")).find("did not finish: hf download org/name "), std::string::npos);
  put(repository / "refs/main", "../../..");
  EXPECT_EQ(resolve_model("org/name").error().id, "E2011");
  EXPECT_NE(message(resolve_model("org/nime")).find("Did you mean 'org/name'?"), std::string::npos);
  // Weights through links into blobs, as the hub's client lays them out.
  put(repository / "refs/main", "abc");
  put_weights(repository / "blobs/0123", {"a"});
  stdfs::create_symlink("../../../blobs/0123", repository / "snapshots/abc/unet/model.safetensors");
  EXPECT_EQ(open_weights(*open_model_folder("org/name").take().find("unet")).take().tensors.size(), 1u);
}

TEST_F(ModelFiles, WhatIsNoModelFolderIsSaid) {
  EXPECT_NE(message(open_model_folder(root.string())).find("but tiny/ has. → give '" + model.string() + "'"),
            std::string::npos);
  EXPECT_NE(
      message(open_model_folder((model / "vae").string())).find("one part of a model. → give the folder above it"),
      std::string::npos);
  put(root / "x/m.safetensors", "");
  EXPECT_NE(message(open_model_folder((root / "x").string())).find("single-file model"), std::string::npos);
  put(root / "y/m.ckpt", "");
  EXPECT_EQ(open_model_folder((root / "y").string()).error().id, "E2001");
  EXPECT_EQ(open_model_folder((root / "y/m.ckpt").string()).error().id, "E2001");
  EXPECT_EQ(open_model_folder((root / "x/m.safetensors").string()).error().id, "E2012");
  EXPECT_EQ(message(open_model_part(root.string(), "vae")),
            root.string() +
                ": is neither the folder of a part 'vae', with its config.json, nor of a model that has one "
                "in vae/. → give the part's own folder, or that of a model with this part  [T2I-E2012]");
  EXPECT_NE(message(open_model_part((root / "x/m.safetensors").string(), "vae")).find("a part 'vae' is a folder"),
            std::string::npos);
}

TEST_F(ModelFiles, AnIndexAgainstTheRulesIsRefused) {
  for (const char* index : {"[]", "{\"_class_name\": 3}", "{\"a\": [1, 2]}", "{\"a\": [\"x\"]}",
                            "{\"../a\": [\"x\", \"y\"]}", "{\"a/b\": [\"x\", \"y\"]}", "{\".\": [\"x\", \"y\"]}",
                            "{\"\": [\"x\", \"y\"]}", "{\"a\": [\"x\", null]}", "{", ""}) {
    put(model / "model_index.json", index);
    EXPECT_EQ(open_model_folder(model.string()).error().id, "E2010") << index;
  }
}

TEST_F(ModelFiles, ABrokenConfigurationNamesFileAndPlace) {
  put(model / "vae/config.json", "{\"a\": 1,\n \"a\": 2}");
  EXPECT_EQ(message(open_model_folder(model.string())),
            (model / "vae/config.json").string() +
                ":2:2: the key 'a' comes twice in one object. → remove one of the two  [T2I-E2010]");
  put(model / "vae/config.json", "[1]");
  EXPECT_EQ(open_model_folder(model.string()).error().id, "E2010");
}

TEST_F(ModelFiles, SingleFilesAndVariants) {
  put_weights(file("diffusion_pytorch_model.fp16.safetensors"), {"half"});
  EXPECT_TRUE(open_weights(unet()).take().find("half"));  // the only one there is
  put_weights(file("diffusion_pytorch_model.non_ema.safetensors"), {"n"});
  EXPECT_TRUE(open_weights(unet()).take().find("half"));
  EXPECT_TRUE(open_weights(unet(), "non_ema").take().find("n"));
  put_weights(file("diffusion_pytorch_model.safetensors"), {"full"});
  EXPECT_TRUE(open_weights(unet()).take().find("full"));
  EXPECT_TRUE(open_weights(unet(), "fp16").take().find("half"));
  EXPECT_NE(message(open_weights(unet(), "bf16"))
                .find("no variant 'bf16' of its weights; it has the plain one, 'fp16', 'non_ema'"),
            std::string::npos);
  stdfs::remove(file("diffusion_pytorch_model.safetensors"));
  stdfs::rename(file("diffusion_pytorch_model.fp16.safetensors"), file("diffusion_pytorch_model.ema.safetensors"));
  EXPECT_NE(message(open_weights(unet())).find("only variants: 'ema', 'non_ema'"), std::string::npos);
}

TEST_F(ModelFiles, NoWeightsOrOnlyPickles) {
  EXPECT_EQ(open_weights(unet()).error().id, "E2014");
  put_weights(file("lora.safetensors"), {"a"});
  EXPECT_NE(message(open_weights(unet())).find("found lora.safetensors"), std::string::npos);
  put(file("diffusion_pytorch_model.bin"), "PK\x03\x04");
  std::string text = message(open_weights(unet()));
  EXPECT_NE(text.find("T2I-E2001"), std::string::npos);
  EXPECT_NE(text.find(" " + file("diffusion_pytorch_model.bin").string() + " " +
                      file("diffusion_pytorch_model.safetensors").string()),
            std::string::npos);
  put_weights(file("model.safetensors"), {"a"});  // beside a pickle, safetensors are taken
  EXPECT_TRUE(open_weights(unet()));
}

TEST_F(ModelFiles, Shards) {
  const char* index =
      "{\n\"metadata\": {\"total_size\": 16},\n\"weight_map\": {\n\"a\": \"model-00001-of-00002.safetensors\",\n"
      "\"b\": \"model-00002-of-00002.safetensors\"}}";
  put(file("model.safetensors.index.json"), index);
  put_weights(file("model-00001-of-00002.safetensors"), {"a"});
  Error missing = open_weights(unet()).error();
  EXPECT_EQ(missing.id, "E2004");
  EXPECT_EQ(missing.exit, Exit::missing);
  EXPECT_EQ(missing.where, file("model.safetensors.index.json").string() + ":5");
  EXPECT_EQ(missing.what, "lists model-00002-of-00002.safetensors, which is not in the folder");
  put_weights(file("model-00002-of-00002.safetensors"), {"b"});
  WeightSet set = open_weights(unet()).take();
  EXPECT_EQ(set.tensors.size(), 2u);
  EXPECT_EQ(set.find("b")->name, "b");
  EXPECT_EQ(set.find("c"), nullptr);
  WeightSet moved = std::move(set);
  EXPECT_EQ(moved.find("a")->bytes.size(), 8u);
  EXPECT_FALSE(moved.damage());

  put_weights(file("model-00002-of-00002.safetensors"), {"b", "c"});
  EXPECT_NE(message(open_weights(unet())).find("holds the tensor 'c', which the index does not list"),
            std::string::npos);
  put_weights(file("model-00002-of-00002.safetensors"), {});
  EXPECT_NE(message(open_weights(unet()))
                .find("lists the tensor 'b' in model-00002-of-00002.safetensors, which does not hold it"),
            std::string::npos);
  put_weights(file("model-00002-of-00002.safetensors"), {"a", "b"});
  EXPECT_NE(message(open_weights(unet())).find("which the index puts into model-00001"), std::string::npos);
  put(file("model-00002-of-00002.safetensors"), "version https://git-lfs.github.com/spec/v1\n");
  EXPECT_EQ(open_weights(unet()).error().id, "E2002");

  for (const char* name : {"index.fp16.json", "fp16"}) {  // both ways to put a variant into an index's name
    bool newer = std::string(name) == "fp16";
    Path path = file(newer ? "model.fp16.safetensors.index.json" : "model.safetensors.index.fp16.json");
    put(path, R"({"weight_map": {"a": "model-00001-of-00002.safetensors"}})");
    EXPECT_EQ(weights_of(unet(), "fp16").take().index, path);
    stdfs::remove(path);
  }
}

TEST_F(ModelFiles, AShardIndexCannotLeaveTheFolder) {
  for (const char* name : {"../a.safetensors", "/etc/a.safetensors", "b/a.safetensors", "a.bin", "..", "",
                           "a\\\\b.safetensors", "a\\u0000.safetensors"}) {
    put(file("model.safetensors.index.json"), std::string(R"({"weight_map": {"a": ")") + name + "\"}}");
    EXPECT_EQ(open_weights(unet()).error().id, "E2015") << name;
  }
  for (const char* index :
       {"{}", "[]", R"({"weight_map": []})", R"({"weight_map": {}})", R"({"weight_map": {"a": 1}})"}) {
    put(file("model.safetensors.index.json"), index);
    EXPECT_EQ(open_weights(unet()).error().id, "E2015") << index;
  }
}
