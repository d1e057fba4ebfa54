// Power loss. Every action of three commits is recorded, then the disk is rebuilt as it may look after the power went
// at any moment: what was not synced is dropped, cut short or zeroed, and names that were not synced with their folder
// are there or not, in any combination. In each such state the newest acknowledged checkpoint must be found whole.
#include <map>
#include <memory>
#include <random>
#include <set>

#include "core/checkpoint/commit.h"
#include "core/checkpoint/commit_testing.h"

using namespace t2i;
namespace stdfs = std::filesystem;

namespace {

// A file, a link or a folder as the disk knows it: what is safe, and what waits to be.
struct Node {
  enum Kind { file, folder, link } kind = file;
  std::string now, safe;  // a file's bytes; a link's target in both
  bool synced = false;    // `safe` is what was last synced
  using Names = std::map<std::string, std::shared_ptr<Node>>;
  Names names, safe_names;
  struct Change {  // of a folder, whole or not at all; a null node removes the name
    std::vector<std::pair<std::string, std::shared_ptr<Node>>> entries;
  };
  std::vector<Change> waiting;
};
using NodePtr = std::shared_ptr<Node>;

// Does what the real disk does and keeps the model beside it. `after` is called with the model after every action.
struct RecordingDisk : FileSystem {
  Path root;
  NodePtr model = std::make_shared<Node>();
  std::map<int, NodePtr> open;
  std::function<void()> after = [] {};
  bool honest = true;  // false: fsync does nothing, as on a disk that lies

  explicit RecordingDisk(Path at) : root(std::move(at)) { model->kind = Node::folder; }

  NodePtr at(const Path& path) {
    NodePtr node = model;
    for (const Path& part : path.lexically_relative(root))
      if (part != ".") {
        auto found = node->names.find(part.string());
        if (found == node->names.end()) return nullptr;
        node = found->second;
      }
    return node;
  }
  void change(const Path& folder, std::vector<std::pair<std::string, NodePtr>> entries) {
    NodePtr node = at(folder);
    for (auto& [name, to] : entries)
      if (to) node->names[name] = to;
      else node->names.erase(name);
    node->waiting.push_back({std::move(entries)});
    after();
  }
  int made(int returned, const Path& path, Node::Kind kind, const std::string& target = "") {
    if (returned < 0) return returned;
    auto node = std::make_shared<Node>();
    node->kind = kind;
    node->now = node->safe = target;
    if (kind == Node::file) open[returned] = node;
    change(path.parent_path(), {{path.filename().string(), node}});
    return returned;
  }
  int moved(int returned, const Path& from, const Path& to, bool exchange) {
    if (returned < 0) return returned;
    EXPECT_EQ(from.parent_path(), to.parent_path());  // then one rename is one change of one folder
    NodePtr a = at(from), b = exchange ? at(to) : nullptr;
    change(from.parent_path(), {{from.filename().string(), b}, {to.filename().string(), a}});
    return returned;
  }

  int create(const Path& p) override { return made(FileSystem::create(p), p, Node::file); }
  int open_folder(const Path& p) override {
    int fd = FileSystem::open_folder(p);
    if (fd >= 0) open[fd] = at(p);
    return fd;
  }
  ssize_t write(int fd, Bytes bytes) override {
    ssize_t n = FileSystem::write(fd, bytes.first(std::min<size_t>(bytes.size(), 900)));
    if (n > 0) {
      open[fd]->now.append(reinterpret_cast<const char*>(bytes.data()), static_cast<size_t>(n));
      open[fd]->synced = false;
      after();
    }
    return n;
  }
  int fsync(int fd) override {  // of memory there is nothing to sync
    NodePtr node = open[fd];
    if (honest) {
      node->safe = node->now;
      node->synced = true;
      node->safe_names = node->names;
      node->waiting.clear();
    }
    after();
    return 0;
  }
  int rename(const Path& a, const Path& b) override { return moved(FileSystem::rename(a, b), a, b, false); }
  int rename_new(const Path& a, const Path& b) override { return moved(FileSystem::rename_new(a, b), a, b, false); }
  int rename_exchange(const Path& a, const Path& b) override {
    return moved(FileSystem::rename_exchange(a, b), a, b, true);
  }
  int symlink(const Path& t, const Path& p) override {
    return made(FileSystem::symlink(t, p), p, Node::link, t.string());
  }
  int make_folder(const Path& p) override { return made(FileSystem::make_folder(p), p, Node::folder); }
  int gone(int returned, const Path& p) {
    if (returned == 0) change(p.parent_path(), {{p.filename().string(), nullptr}});
    return returned;
  }
  int remove_file(const Path& p) override { return gone(FileSystem::remove_file(p), p); }
  int remove_folder(const Path& p) override { return gone(FileSystem::remove_folder(p), p); }
};

// One of the many ways in which `node` may come back. `mood` 0: only what is safe; 1: all; else a throw for each.
void rebuild(const Node& node, const Path& at, int mood, std::mt19937& random) {
  auto coin = [&] { return mood == 0 ? false : mood == 1 ? true : random() % 2 == 0; };
  if (node.kind == Node::link) return stdfs::create_symlink(node.now, at);
  if (node.kind == Node::file) {
    std::string bytes = node.synced || mood == 0 ? node.safe : node.now;
    if (!node.synced && mood > 1) {
      size_t cut = random() % (bytes.size() + 1);
      switch (random() % 4) {
        case 0:
          bytes.resize(cut);
          break;  // the end never reached the disk
        case 1:
          std::fill(bytes.begin() + static_cast<long>(cut), bytes.end(), '\0');
          break;  // its length did
        case 2:
          bytes.clear();
          break;
        default:
          break;
      }
    }
    std::ofstream(at, std::ios::binary) << bytes;
    return;
  }
  Node::Names names = node.safe_names;
  size_t first = mood > 2 ? random() % (node.waiting.size() + 1) : node.waiting.size();  // in order up to there …
  for (size_t i = 0; i < node.waiting.size(); ++i) {
    bool there = mood == 3 ? i < first : coin();  // … or each for itself, as if the disk had reordered them
    if (!there) continue;
    for (const auto& [name, to] : node.waiting[i].entries)
      if (to) names[name] = to;
      else names.erase(name);
  }
  stdfs::create_directory(at);
  for (const auto& [name, child] : names) rebuild(*child, at / name, mood, random);
}

struct Counts {
  int states = 0, lost = 0, torn_seen = 0;
};

// Three commits and a replacement over one old checkpoint, the power cut after every action in several ways.
Counts power_cuts(bool honest, int ways, bool repair) {
  TestFolder place;
  Path run = place / "run";
  RecordingDisk disk(run);
  stdfs::create_directory(run);
  std::mt19937 random(23);
  Counts counts;
  int64_t acknowledged = -1;
  commit(run, 1, 0, disk);
  acknowledged = 1;
  disk.honest = honest;
  disk.after = [&] {
    for (int way = 0; way < ways; ++way) {
      Path copy = place / "after";
      rebuild(*disk.model, copy, way < 3 ? way : 2 + static_cast<int>(random() % 2), random);
      ++counts.states;
      Result<NewestCheckpoint> newest = find_newest_valid(copy);
      int64_t found = newest && newest->checkpoint ? newest_step(copy) : -1;
      counts.lost += found < acknowledged;
      counts.torn_seen += !newest || !newest->notices.empty();
      if (repair && way == 2) {  // and the run goes on from there
        remove_leftovers(copy);
        EXPECT_GE(newest_step(copy), acknowledged);
        commit(copy, 9, 1);
        EXPECT_EQ(newest_step(copy), 9);
      }
      stdfs::remove_all(copy);
    }
  };
  for (int64_t step : {2, 3, 3}) {
    commit(run, step, 2, disk);
    acknowledged = step;
    disk.after();
  }
  disk.after = [] {};
  return counts;
}

}  // namespace

TEST(CrashStates, TheAcknowledgedCheckpointIsAlwaysFound) {
  Counts counts = power_cuts(true, 40, true);
  EXPECT_GE(counts.states, 3000);
  EXPECT_EQ(counts.lost, 0);
  EXPECT_EQ(counts.torn_seen, 0);  // a name checkpoint-STEP never stands for anything that is not whole
}

// The same search on a disk whose fsync does nothing must find losses, or it would prove nothing.
TEST(CrashStates, TheSearchFindsWhatAMissingSyncCosts) {
  Counts counts = power_cuts(false, 8, false);
  EXPECT_GT(counts.lost, 10);
  EXPECT_GT(counts.torn_seen, 10);
}
