#include "core/doctor/doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/doctor/made_machine.h"

using namespace t2i;
using testing::HasSubstr;

namespace {

// The findings of a check; those of others are left out.
Findings of(const Machine& machine, const std::string& check) {
  Findings all = examine(machine), out;
  std::ranges::copy_if(all, std::back_inserter(out), [&](const Finding& f) { return f.check == check; });
  return out;
}

// The only finding of a check.
Finding one(const Machine& machine, const std::string& check) {
  Findings found = of(machine, check);
  EXPECT_EQ(found.size(), 1u) << check;
  return found.empty() ? Finding{} : found[0];
}

Finding::State worst(const Machine& machine) {
  Finding::State state = Finding::ok;
  for (const Finding& f : examine(machine)) state = std::max(state, f.state);
  return state;
}

}  // namespace

TEST(Doctor, AHealthyMachineHasNothingToMend) {
  MadeMachine m;
  m.terminal = true;
  m.give_gpus(8);
  for (const Finding& f : examine(m)) EXPECT_EQ(f.state, Finding::ok) << f.check << ": " << f.text;
  EXPECT_THAT(one(m, "driver").text, HasSubstr("580.65.06, for CUDA 13.0"));
  EXPECT_THAT(one(m, "NCCL").text, HasSubstr("2.28.9"));
  EXPECT_EQ(one(m, "GPU 7").text, "NVIDIA H100, 80.0 GB, compute capability 9.0");
}

TEST(Doctor, WhatIsWrongSaysWhatToDo) {
  MadeMachine m;
  m.terminal = true;
  m.give_gpus(2);
  m.variables = {{"LANG", "de_DE.ISO-8859-1"}, {"TERM", "dumb"}, {"NCCL_SOCKET_IFNAME", "ib0"}, {"RANK", "0"}};
  m.limits = {{"nofile", 256}, {"fsize", 1000}, {"memlock", 65536}, {"as", 1'000'000'000}};
  m.write("sys/class/infiniband/mlx5_0/x", "");
  m.write("proc/cpuinfo", "flags : fpu sse2\n");
  m.write("proc/meminfo", "MemTotal: 4000000 kB\nMemAvailable: 100000 kB\n");
  m.disks = {{".", {100, 10, true}}, {"dev/shm", {64'000'000, 64'000'000, true}}, {"/home/me/hub", {10, 10, false}}};
  m.engine.problem = "lib/libt2i_engine.so: cannot be loaded", m.token_is_readable_by_others = true;
  m.catalog.libraries = 0, m.catalog.refused = {{"t2i-x.so", "it is broken", "", "remove it", "E2059"}};
  m.nvidia.apart = {{0, 1}};
  size_t bad = 0;
  for (const Finding& f : examine(m)) {
    EXPECT_EQ(f.state == Finding::ok, f.fix.empty()) << f.check << ": " << f.text;
    bad += f.state != Finding::ok;
  }
  EXPECT_EQ(bad, 18u) << to_text(examine(m), false);
}

TEST(Doctor, AMachineWithoutAGpuIsNoFailure) {
  MadeMachine m;
  EXPECT_EQ(one(m, "driver").state, Finding::warn);
  EXPECT_THAT(one(m, "driver").text, HasSubstr("computes on the processor"));
  EXPECT_TRUE(of(m, "CUDA").empty() && of(m, "NCCL").empty());
  EXPECT_EQ(worst(m), Finding::warn);
}

TEST(Doctor, AGpuThatTheContainerWasNotGiven) {
  MadeMachine m;
  m.write("sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n");
  m.write("sys/bus/pci/devices/0000:01:00.0/class", "0x030200\n");
  m.write("sys/bus/pci/devices/0000:01:00.1/vendor", "0x10de\n");  // the card's sound
  m.write("sys/bus/pci/devices/0000:01:00.1/class", "0x040300\n");
  m.write("sys/bus/pci/devices/0000:02:00.0/vendor", "0x8086\n");
  m.write("sys/bus/pci/devices/0000:02:00.0/class", "0x030000\n");
  Finding f = one(m, "driver");
  EXPECT_EQ(f.state, Finding::fail);
  EXPECT_THAT(f.text, HasSubstr("1 NVIDIA GPU is on the bus"));
  EXPECT_THAT(f.fix, HasSubstr("--gpus all"));
}

TEST(Doctor, Drivers) {
  MadeMachine m;
  m.give_gpus(1);
  m.nvidia.driver = "550.54.14", m.nvidia.cuda = 12040;
  EXPECT_EQ(one(m, "driver").state, Finding::fail);
  EXPECT_THAT(one(m, "driver").text, HasSubstr("550.54.14, for CUDA 12.4; CUDA 13 is needed"));
  m.nvidia.problem = "asking it gave no answer in 60 s";
  EXPECT_THAT(one(m, "driver").text, HasSubstr("gave no answer"));
  EXPECT_TRUE(of(m, "CUDA").empty()) << "what follows from that is not said again";
}

TEST(Doctor, OldGpusAndHiddenOnes) {
  MadeMachine m;
  m.give_gpus(2);
  m.nvidia.gpus[1] = {"Tesla T4", 16'000'000'000, 7, 5};
  m.variables["CUDA_VISIBLE_DEVICES"] = "";
  EXPECT_EQ(one(m, "GPU 0").state, Finding::ok);
  EXPECT_EQ(one(m, "GPU 1").state, Finding::fail);
  EXPECT_EQ(one(m, "GPUs").state, Finding::warn);
  m.variables["CUDA_VISIBLE_DEVICES"] = "1";
  EXPECT_TRUE(of(m, "GPUs").empty());
}

TEST(Doctor, TorchWithoutItsHalfForGpus) {
  MadeMachine m;
  m.give_gpus(2);
  m.engine.cuda_problem = "libcudart.so.13: cannot open shared object file", m.engine.nccl = 0;
  EXPECT_EQ(one(m, "CUDA").state, Finding::fail);
  EXPECT_THAT(one(m, "CUDA").text, HasSubstr("libcudart.so.13"));
  EXPECT_TRUE(of(m, "NCCL").empty());
  m.engine.cuda_problem.clear();
  EXPECT_EQ(one(m, "NCCL").state, Finding::fail);
}

TEST(Doctor, SharedMemoryOfAContainer) {
  MadeMachine m;
  m.disks["dev/shm"] = {67'108'864, 67'108'864, true};
  EXPECT_EQ(one(m, "shared memory").state, Finding::warn);
  EXPECT_THAT(one(m, "shared memory").fix, HasSubstr("--shm-size"));
  m.disks["dev/shm"].writable = false;
  EXPECT_EQ(one(m, "shared memory").state, Finding::warn);
  m.give_gpus(2);
  EXPECT_EQ(one(m, "shared memory").state, Finding::fail);
}

TEST(Doctor, WhatTheControlGroupLeaves) {
  MadeMachine m;
  m.write("proc/self/cgroup", "0::/\n");
  m.write("sys/fs/cgroup/memory.max", "4000000000\n");
  m.write("sys/fs/cgroup/cpu.max", "150000 100000\n");
  EXPECT_THAT(one(m, "memory").text, HasSubstr("lets this process have 4.0 GB"));
  EXPECT_EQ(one(m, "memory").state, Finding::warn);
  EXPECT_THAT(one(m, "processor").text, HasSubstr("lets this process use 1.5"));
  EXPECT_THAT(one(m, "processor").fix, HasSubstr("train.num_threads: 1"));
}

TEST(Doctor, Interfaces) {
  MadeMachine m;
  m.write("sys/class/net/lo/operstate", "unknown\n");
  m.write("sys/class/net/ib0/operstate", "down\n");
  auto network = [&] { return of(m, "network").size(); };
  m.variables["NCCL_SOCKET_IFNAME"] = "eth";  // NCCL takes beginnings
  EXPECT_EQ(network(), 0u);
  for (const char* wrong : {"=eth", "ib0", "eth0,enp3s0"}) {
    m.variables["NCCL_SOCKET_IFNAME"] = wrong;
    EXPECT_EQ(network(), 1u) << wrong;
  }
  for (const char* right : {"^docker,lo", "=eth0", "eth0", "lo"}) {
    m.variables["NCCL_SOCKET_IFNAME"] = right;
    EXPECT_EQ(network(), 0u) << right;
  }
  m.variables["GLOO_SOCKET_IFNAME"] = "eth";  // Gloo whole names
  EXPECT_EQ(one(m, "network").fix, "export GLOO_SOCKET_IFNAME=eth0");
}

TEST(Doctor, SlurmAndItsHosts) {
  MadeMachine m;
  m.variables["SLURM_JOB_ID"] = "7", m.variables["SLURM_NTASKS"] = "8";
  EXPECT_EQ(one(m, "launcher").state, Finding::warn) << "inside salloc";
  m.variables.insert({{"SLURM_STEP_ID", "0"}, {"SLURM_PROCID", "3"}, {"SLURM_LOCALID", "3"}, {"SLURM_NODEID", "0"},
                      {"SLURM_STEP_TASKS_PER_NODE", "4(x2)"}, {"SLURM_STEP_NODELIST", "n[1-2]"}});
  EXPECT_EQ(one(m, "launcher").text, "slurm: process 3 of 8, 4 on this machine");
  EXPECT_TRUE(of(m, "host name").empty());
  m.addresses = {"127.0.1.1"};
  EXPECT_EQ(one(m, "host name").state, Finding::warn);
  EXPECT_THAT(one(m, "host name").fix, HasSubstr("GLOO_SOCKET_IFNAME=eth0"));
  m.variables["GLOO_SOCKET_IFNAME"] = "eth0";
  EXPECT_TRUE(of(m, "host name").empty());
  m.variables["SLURM_PROCID"] = "99";
  EXPECT_EQ(one(m, "launcher").state, Finding::fail);
}

TEST(Doctor, PluginsThatCannotBeUsed) {
  MadeMachine m;
  m.catalog.refused = {{"t2i-x.so", "was built for plugin interface 0.0", "", "Rebuild it", "E2055"}};
  Finding f = one(m, "plugin");
  EXPECT_EQ(f.state, Finding::fail);
  EXPECT_EQ(f.fix, "Rebuild it");
  m.catalog.refused.clear(), m.engine.refused = {"t2i-y.so: could not start"};
  EXPECT_THAT(one(m, "plugin").text, HasSubstr("could not start"));
}

TEST(Doctor, AsTextAndAsJson) {
  const Findings findings = {{"disk", Finding::ok, "wide", ""}, {"shared memory", Finding::fail, "small\x1b[2J", "more"}};
  EXPECT_EQ(to_text(findings, false), "ok    disk           wide\nfail  shared memory  small?[2J\n                     → more\n");
  EXPECT_THAT(to_text(findings, true), HasSubstr("\x1b[31mfail\x1b[0m"));
  nlohmann::ordered_json json = to_json(findings);
  EXPECT_EQ(json["worst"], "fail");
  EXPECT_EQ(json["checks"][1]["fix"], "more");
}
