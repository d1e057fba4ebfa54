// The machine as the doctor's checks see it: files below a root, the environment, what the system and the engine say. All
// of it can be handed in, so that a test can make a machine that nobody has.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/plug/catalog.h"

namespace t2i {

struct Disk {
  uint64_t total = 0, free = 0;  // bytes
  bool writable = false;
};

struct Gpu {
  std::string name;
  uint64_t memory = 0;  // bytes
  int major = 0, minor = 0;  // compute capability
};

// What the driver says, through its management library.
struct NvidiaFacts {
  std::string problem;                       // why it says nothing
  std::string driver;                        // "580.65.06"
  int cuda = 0;                              // the newest CUDA that it serves: 13000
  std::vector<Gpu> gpus;
  std::vector<std::pair<int, int>> apart;    // pairs that cannot read each other's memory
};

// What the engine says, in a process of its own.
struct EngineFacts {
  std::string problem;               // why it cannot be loaded
  std::string torch, vectors;        // "2.11.0", "AVX512"
  std::string cuda_problem;          // why it computes on no GPU
  int gpus = 0, nccl = 0;            // 22809: 2.28.9
  std::vector<std::string> refused;  // plugins that could not start, a sentence each
};

struct Machine {
  std::filesystem::path root = "/";  // of /proc, /sys and /dev
  std::function<std::optional<std::string>(const char*)> environment;
  std::function<std::optional<Disk>(const std::filesystem::path&)> disk;  // the one that holds a path or will
  std::map<std::string, uint64_t> limits;  // of ulimit, those that are limited: "nofile", "memlock", "fsize", "as"
  int processors = 1;                      // that this process may use
  bool terminal = false;                   // is the output one?
  std::filesystem::path output = ".", hub_cache, token;
  bool token_is_readable_by_others = false;
  std::string host;
  std::vector<std::string> addresses;  // of that name; empty: it has none
  NvidiaFacts nvidia;
  EngineFacts engine;
  Catalog catalog;

  std::string get(const char* variable) const { return environment(variable).value_or(""); }
  // A file below the root; empty where it cannot be read.
  std::string read(const std::string& path) const;
  std::vector<std::string> list(const std::string& folder) const;  // names, sorted
  bool has(const std::string& path) const;
};

// This one. `nvidia`, `engine` and `catalog` are left to the caller, because asking them can hang or crash.
Machine this_machine(const std::filesystem::path& output);

// Asks libnvidia-ml.so.1. To be called in a process of its own: a broken driver can keep it for ever.
NvidiaFacts ask_nvidia();
std::string to_text(const NvidiaFacts& facts);  // JSON, to come back from there
NvidiaFacts nvidia_facts(const std::string& text);
EngineFacts engine_facts(const std::string& text);

}  // namespace t2i
