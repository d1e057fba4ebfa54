// A machine for tests: files below a folder of their own, and everything else as a healthy one has it.
#pragma once
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "core/doctor/doctor.h"

namespace t2i {

struct MadeMachine : Machine {
  std::map<std::string, std::string> variables{{"LANG", "C.UTF-8"}, {"TERM", "xterm"}};
  std::map<std::string, Disk> disks;  // by path; others are large

  MadeMachine() {
    std::string folder = (std::filesystem::temp_directory_path() / "t2i-machine-XXXXXX").string();
    root = ::mkdtemp(folder.data());
    environment = [this](const char* name) -> std::optional<std::string> {
      auto at = variables.find(name);
      return at == variables.end() ? std::nullopt : std::optional(at->second);
    };
    disk = [this](const std::filesystem::path& path) -> std::optional<Disk> {
      auto at = disks.find(path.lexically_relative(root).string());
      if (at == disks.end()) at = disks.find(path.string());
      return at == disks.end() ? Disk{1'000'000'000'000, 500'000'000'000, true} : at->second;
    };
    processors = 8, hub_cache = "/home/me/hub", host = "node1", addresses = {"10.0.0.1"};
    limits = {{"nofile", 65536}};
    engine.torch = "2.11.0", engine.vectors = "AVX2";
    catalog.libraries = 1, catalog.interface = "0.1", catalog.places = {"/opt/lib/t2i"};
    write("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu avx2 fma bmi2 f16c avx512f avx512bw avx512dq avx512vl\n");
    write("proc/meminfo", "MemTotal:       65536000 kB\nMemFree:  1000 kB\nMemAvailable:   60000000 kB\n");
    write("sys/class/net/eth0/operstate", "up\n");
    write("dev/shm/x", "");
  }
  ~MadeMachine() {
    std::error_code ec;
    std::filesystem::remove_all(root, ec);
  }
  MadeMachine(const MadeMachine&) = delete;
  MadeMachine& operator=(const MadeMachine&) = delete;

  void write(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories((root / path).parent_path());
    std::ofstream(root / path) << text;
  }
  void give_gpus(int count) {
    write("dev/nvidiactl", "");
    nvidia.driver = "580.65.06", nvidia.cuda = 13000;
    for (int i = 0; i < count; ++i) nvidia.gpus.push_back({"NVIDIA H100", 80'000'000'000, 9, 0});
    engine.gpus = count, engine.nccl = 22809;
  }
};

}  // namespace t2i
