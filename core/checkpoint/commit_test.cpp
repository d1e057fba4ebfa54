#include "core/checkpoint/commit.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>

#include "core/base/hash.h"
#include "core/checkpoint/commit_testing.h"

using namespace t2i;
namespace stdfs = std::filesystem;
using Names = std::vector<std::string>;

namespace {

void put(const Path& path, std::string_view text) { std::ofstream(path, std::ios::binary) << text; }

std::string all_text(const std::vector<Error>& notices) {
  std::string text;
  for (const Error& e : notices) text += to_string(e) + "\n";
  return text;
}

}  // namespace

TEST(Commit, ACheckpointIsFoundWithItsState) {
  TestFolder run;
  EXPECT_FALSE(find_newest_valid(run.path).take().checkpoint);
  EXPECT_FALSE(find_newest_valid(run / "not there").take().checkpoint);
  EXPECT_TRUE(commit(run.path, 5, 3).notices.empty());
  EXPECT_EQ(newest_step(run.path), 5);
  EXPECT_EQ(commit(run.path, 10, 3).folder, run / "checkpoint-10");
  EXPECT_EQ(newest_step(run.path), 10);
  EXPECT_EQ(names_in(run.path), (Names{"checkpoint-10", "checkpoint-5", "latest"}));
  EXPECT_EQ(stdfs::read_symlink(run / "latest"), "checkpoint-10");
  Checkpoint c = *find_newest_valid(run.path).take().checkpoint;
  EXPECT_EQ(c.manifest.state["seed"], 42);
  EXPECT_EQ(c.manifest.files.size(), 3u);
}

TEST(Commit, TheManifestIsWhatTheDocumentSays) {
  TestFolder run;
  commit(run.path, 5, 0);
  std::string text = read_file(run / "checkpoint-5/manifest.json").take();
  Json json = Json::parse(text);
  EXPECT_EQ(json["format"], "t2i-checkpoint");
  EXPECT_EQ(json["version"], 1);
  EXPECT_EQ(json["step"], 5);
  EXPECT_EQ(json["files"][1]["name"], "optimizer.bin");
  EXPECT_EQ(json["files"][1]["bytes"], content_of("optimizer.bin", 5).size());
  EXPECT_EQ(json["files"][1]["xxh3"], xxh3_hex(as_bytes(content_of("optimizer.bin", 5))));
  EXPECT_EQ(json["seal"], xxh3_hex(as_bytes(std::string_view(text).substr(0, text.find(",\n \"seal\"")))));
  commit(run.path, 5, 0);
  EXPECT_EQ(read_file(run / "checkpoint-5/manifest.json").take(),
            text);  // nothing in it but what was saved: equal runs, equal bytes
}

TEST(Commit, OlderOnesArePrunedAfterwards) {
  TestFolder run;
  for (int64_t step : {1, 2, 3, 9, 10, 11}) commit(run.path, step, 3);
  EXPECT_EQ(names_in(run.path), (Names{"checkpoint-10", "checkpoint-11", "checkpoint-9", "latest"}));
  commit(run.path, 12, 1);
  EXPECT_EQ(names_in(run.path), (Names{"checkpoint-12", "latest"}));
  for (int64_t step : {13, 14, 15}) commit(run.path, step, 0);
  EXPECT_EQ(names_in(run.path).size(), 5u);
}

TEST(Commit, WhatT2iDidNotWriteStays) {
  TestFolder run;
  stdfs::create_directory(run / "checkpoint-1");  // another program's
  put(run / "checkpoint-1/pytorch_model.bin", "theirs");
  put(run / "checkpoint-2", "a file");
  stdfs::create_directory(run / "checkpoint-x");
  stdfs::create_directory(run / "checkpoint-007");
  commit(run.path, 3, 1);
  put(run / "checkpoint-3/notes.txt", "mine");
  stdfs::create_directory(run / "moved");
  commit(run.path, 4, 0);
  stdfs::rename(run / "checkpoint-4", run / "moved/checkpoint-4");  // moved to another disk and linked
  stdfs::create_directory_symlink("moved/checkpoint-4", run / "checkpoint-4");
  EXPECT_EQ(newest_step(run.path), 4);
  Committed c = commit(run.path, 5, 1);
  EXPECT_NE(all_text(c.notices).find("was not pruned: 'notes.txt' in it was not written by t2i"), std::string::npos);
  EXPECT_EQ(names_in(run.path), (Names{"checkpoint-007", "checkpoint-1", "checkpoint-2", "checkpoint-3", "checkpoint-4",
                                       "checkpoint-5", "checkpoint-x", "latest", "moved"}));
  EXPECT_EQ(read_file(run / "checkpoint-1/pytorch_model.bin").take(), "theirs");
  EXPECT_EQ(read_file(run / "checkpoint-3/notes.txt").take(), "mine");
  EXPECT_TRUE(verify_checkpoint(run / "moved/checkpoint-4"));
}

TEST(Commit, TheSameStepAgainReplacesAndForeignFoldersMoveAside) {
  TestFolder run;
  commit(run.path, 7, 1);
  EXPECT_TRUE(commit(run.path, 7, 1).notices.empty());
  EXPECT_EQ(names_in(run.path), (Names{"checkpoint-7", "latest"}));
  put(run / "checkpoint-7/notes.txt", "mine");
  Committed c = commit(run.path, 7, 1);
  ASSERT_EQ(c.notices.size(), 1u);
  EXPECT_EQ(read_file(c.notices[0].where + "/notes.txt").take(), "mine");
  EXPECT_FALSE(stdfs::exists(run / "checkpoint-7/notes.txt"));
  stdfs::create_directory(run / "checkpoint-8");
  put(run / "checkpoint-8/theirs", "x");
  c = commit(run.path, 8, 1);
  EXPECT_EQ(newest_step(run.path), 8);
  ASSERT_EQ(c.notices.size(), 1u);
  EXPECT_EQ(read_file(c.notices[0].where + "/theirs").take(), "x");
}

TEST(Commit, ADamagedNewerOneIsNeitherTakenNorCounted) {
  TestFolder run;
  commit(run.path, 500, 0);
  commit(run.path, 1000, 0);
  put(run / "checkpoint-1000/optimizer.bin", "torn");
  NewestCheckpoint newest = find_newest_valid(run.path).take();
  EXPECT_EQ(newest.checkpoint->manifest.step, 500);
  ASSERT_EQ(newest.notices.size(), 1u);
  EXPECT_NE(all_text(newest.notices).find("checkpoint-1000/optimizer.bin: has 4 bytes, the manifest says"),
            std::string::npos);
  commit(run.path, 600, 1);  // must not fall victim to the damaged one with the higher number
  EXPECT_EQ(newest_step(run.path), 600);
  commit(run.path, 1000, 1);
  EXPECT_EQ(newest_step(run.path), 1000);
  stdfs::remove(run / "checkpoint-1000/ema/model.safetensors");
  Error none = find_newest_valid(run.path).error();
  EXPECT_EQ(none.id, "E4113");
  EXPECT_NE(none.what.find("ema/model.safetensors: there is no such file"), std::string::npos) << none.what;
}

TEST(Commit, AFolderThatWasRenamedIsNotTakenForAnotherStep) {
  TestFolder run;
  commit(run.path, 5, 0);
  commit(run.path, 6, 0);
  stdfs::rename(run / "checkpoint-5", run / "checkpoint-50");
  EXPECT_EQ(newest_step(run.path), 6);
}

TEST(Commit, FiveHundredFlippedBitsAreAllFound) {
  TestFolder run;
  commit(run.path, 1, 0);
  commit(run.path, 2, 0);
  Names files = test_files;
  files.push_back("manifest.json");
  std::mt19937 random(17);
  for (int i = 0; i < 500; ++i) {
    std::string name = files[random() % files.size()];
    std::string good = read_file(run / "checkpoint-2" / name).take(), bad = good;
    bad[random() % bad.size()] ^= static_cast<char>(1 << random() % 8);
    put(run / "checkpoint-2" / name, bad);
    NewestCheckpoint newest = find_newest_valid(run.path).take();
    ASSERT_EQ(newest.checkpoint->manifest.step, 1);
    ASSERT_EQ(newest.notices.size(), 1u);
    ASSERT_EQ(newest.notices[0].id, "E4112");
    ASSERT_NE(newest.notices[0].where.find("checkpoint-2/" + name), std::string::npos);
    put(run / "checkpoint-2" / name, good);
  }
  EXPECT_EQ(newest_step(run.path), 2);
}

TEST(Commit, DamageInALongFileIsPlaced) {
  TestFolder run(stdfs::temp_directory_path());
  std::string text(40'000'000, 'x');
  {
    CheckpointWriter writer(run.path, 1, text.size());
    writer.add_file("long", as_bytes(text));
    writer.finish(Json::object(), 0);
  }
  EXPECT_EQ(verify_checkpoint(run / "checkpoint-1").take().manifest.files[0].pieces.size(), 3u);
  int fd = open((run / "checkpoint-1/long").c_str(), O_WRONLY);
  ASSERT_EQ(pwrite(fd, "y", 1, 20'000'000), 1);
  close(fd);
  EXPECT_NE(to_string(verify_checkpoint(run / "checkpoint-1").error())
                .find("bytes 16,777,216 to 33,554,432 of 40,000,000 are not what was written"),
            std::string::npos);
}

TEST(Commit, AManifestCannotReachOutside) {
  for (const char* name : {"../x", "/etc/passwd", "a/../../x", "", ".", "..", "a//b/..", ".hidden", "a\\b"}) {
    EXPECT_FALSE(is_inner_name(name)) << name;
    Manifest m;
    m.files.push_back({name, 0, "", {}});
    EXPECT_EQ(parse_manifest(manifest_text(m), "m").error().id, "E4112") << name;
  }
  EXPECT_TRUE(is_inner_name("a/b.safetensors"));
  TestFolder run;
  CheckpointWriter writer(run.path, 1, 0);
  EXPECT_THROW(writer.add_file("../x", as_bytes("x")), Failure);
}

TEST(Commit, ANewerVersionIsNotMisread) {
  std::string text = manifest_text({});
  text.replace(text.find("\"version\": 1"), 12, "\"version\": 2");
  EXPECT_EQ(parse_manifest(text, "m").error().id, "E4112");  // edited
  size_t at = text.find(",\n \"seal\"");
  text = text.substr(0, at) + ",\n \"seal\": \"" + xxh3_hex(as_bytes(text.substr(0, at))) + "\"\n}\n";
  EXPECT_EQ(parse_manifest(text, "m").error().id, "E4114");
}

TEST(Commit, MutatedManifestsNeverCrash) {
  Manifest m;
  m.files.push_back({"a", 3, std::string(32, 'a'), {}});
  std::string good = manifest_text(m);
  good.resize(good.find(",\n \"seal\""));
  std::mt19937 random(3);
  int refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string text = good;
    for (unsigned n = 1 + random() % 3; n; --n) {
      size_t at = random() % text.size();
      if (random() % 2) text[at] = "0123456789{}[]\",:-abc"[random() % 21];
      else text.erase(at, 1 + random() % 4);
    }
    text += ",\n \"seal\": \"" + xxh3_hex(as_bytes(text)) + "\"\n}\n";  // as if whoever changed it had sealed it
    refused += !parse_manifest(text, "m");
  }
  EXPECT_GT(refused, 10'000);
}

TEST(Commit, ANotFinishedOneLeavesNothing) {
  TestFolder run;
  {
    CheckpointWriter writer(run.path, 1, 0);
    writer.add_file("a/b", as_bytes("x"));
    EXPECT_EQ(names_in(run.path).size(), 1u);
  }
  EXPECT_TRUE(names_in(run.path).empty());
}

TEST(Commit, FilesOfOtherProcessesAreTaken) {
  TestFolder run;
  CheckpointWriter writer(run.path, 1, 0);
  pid_t child = fork();
  if (child == 0) {
    FileRecord r =
        write_checkpoint_file(writer.folder(), "shard-1", [](const ByteSink& sink) { sink(as_bytes("one")); });
    _exit(r.xxh3 == xxh3_hex(as_bytes("one")) ? 0 : 1);
  }
  int status = 1;
  waitpid(child, &status, 0);
  ASSERT_EQ(status, 0);
  writer.add_file(FileRecord{"shard-1", 3, xxh3_hex(as_bytes("one")), {}});
  writer.finish(Json::object(), 0);
  EXPECT_TRUE(verify_checkpoint(run / "checkpoint-1"));
}

TEST(Commit, SpaceIsCheckedBeforeAnythingIsWritten) {
  TestFolder run;
  commit(run.path, 1500, 0);
  struct Full : FileSystem {
    int64_t free_bytes(const Path&) override { return 5'400'000'000; }
  } disk;
  try {
    CheckpointWriter writer(run.path, 2000, 13'400'000'000, disk);
    FAIL();
  } catch (const Failure& f) {
    std::string text = f.what();
    EXPECT_NE(text.find("need 13.4 GB for checkpoint-2000 (+1 kept), 5.4 GB free on /"), std::string::npos) << text;
    EXPECT_NE(text.find("Nothing was overwritten; last good: checkpoint-1500."), std::string::npos);
    EXPECT_NE(text.find("[T2I-E4101]"), std::string::npos);
    EXPECT_EQ(f.exit(), Exit::io);
  }
  EXPECT_EQ(names_in(run.path), (Names{"checkpoint-1500", "latest"}));
}

TEST(Commit, LeftoversGoAndNothingElse) {
  TestFolder run;
  const std::string id(32, 'a');
  stdfs::create_directories(run / (".tmp-5-" + id) / "ema");
  put(run / (".tmp-5-" + id) / "ema/x", "half");
  stdfs::create_symlink("checkpoint-5", run / (".tmp-latest-" + id));
  put(run / ".metrics.json.tmp-0123456789abcdef", "half");
  Names theirs{".tmp-5-short", ".tmp-note", ".tmp", ".x.tmp-1", "checkpoint-5.replaced-12345678"};
  for (const std::string& name : theirs) stdfs::create_directory(run / name);
  commit(run.path, 6, 0);
  stdfs::rename(run / "checkpoint-6", run / (".tmp-6-" + id));  // killed while pruning
  commit(run.path, 7, 0);
  put(run / "checkpoint-7/mine", "x");
  stdfs::rename(run / "checkpoint-7", run / (".tmp-7-" + id));
  std::vector<Error> notices = remove_leftovers(run.path);
  ASSERT_EQ(notices.size(), 1u);
  EXPECT_EQ(read_file(notices[0].where + "/mine").take(), "x");
  stdfs::remove_all(notices[0].where);
  theirs.push_back("latest");
  std::sort(theirs.begin(), theirs.end());
  EXPECT_EQ(names_in(run.path), theirs);
}
