// Launchers as they set the environment, by their own documentation (torchrun: torch/distributed/run.py; SLURM:
// srun(1), "OUTPUT ENVIRONMENT VARIABLES"; Open MPI: "Environmental variables for the run-time").
#include "core/dist/launch.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "core/base/launcher_report.h"

namespace t2i {
namespace {

using Variables = std::map<std::string, std::string>;

Result<Launch> launch(const Variables& variables) {
  return launch_from([&](const char* name) -> std::optional<std::string> {
    auto it = variables.find(name);
    return it == variables.end() ? std::nullopt : std::optional(it->second);
  });
}

const Variables torchrun{{"TORCHELASTIC_RUN_ID", "x"},
                         {"RANK", "3"},
                         {"WORLD_SIZE", "4"},
                         {"LOCAL_RANK", "1"},
                         {"LOCAL_WORLD_SIZE", "2"},
                         {"MASTER_ADDR", "a.example"},
                         {"MASTER_PORT", "29400"},
                         {"TORCHELASTIC_USE_AGENT_STORE", "True"},
                         {"TORCHELASTIC_RESTART_COUNT", "2"}};
const Variables srun{{"SLURM_JOB_ID", "123456"},
                     {"SLURM_STEP_ID", "0"},
                     {"SLURM_JOB_NAME", "train"},
                     {"SLURM_PROCID", "5"},
                     {"SLURM_NTASKS", "11"},
                     {"SLURM_LOCALID", "1"},
                     {"SLURM_NODEID", "1"},
                     {"SLURM_STEP_TASKS_PER_NODE", "4(x2),3"},
                     {"SLURM_JOB_NODELIST", "gpu[008-010]"}};
const Variables mpirun{
    {"OMPI_COMM_WORLD_RANK", "1"},       {"OMPI_COMM_WORLD_SIZE", "2"}, {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
    {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}, {"MASTER_ADDR", "h"},          {"MASTER_PORT", "1234"}};
const Variables pod{{"MASTER_ADDR", "job-master-0"}, {"MASTER_PORT", "23456"}, {"RANK", "1"}, {"WORLD_SIZE", "3"}};

Variables with(Variables base, const Variables& changes) {
  for (auto& [name, value] : changes) base[name] = value;
  return base;
}
Variables without(Variables base, const std::string& name) {
  base.erase(name);
  return base;
}

struct Row {
  const char* title;
  Variables variables;
  Launch expected;
};

TEST(launch, every_launcher_is_recognised) {
  const Row rows[] = {
      {"nothing", {}, {}},
      {"a shell with MASTER_ADDR left over", {{"MASTER_ADDR", "x"}, {"WORLD_SIZE", "1"}}, {}},
      {"torchrun", torchrun, {"torchrun", 3, 4, 1, 2, "a.example", 29400, true, 2}},
      {"torchrun without the agent's store",
       with(torchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "False"}}),
       {"torchrun", 3, 4, 1, 2, "a.example", 29400, false, 2}},
      {"srun torchrun", with(srun, torchrun), {"torchrun", 3, 4, 1, 2, "a.example", 29400, true, 2}},
      {"srun", srun, {"slurm", 5, 11, 1, 4, "gpu008", 15000 + 123456 % 20000, false, 0}},
      {"srun, third node", with(srun, {{"SLURM_NODEID", "2"}}), {"slurm", 5, 11, 1, 3, "gpu008", 18456, false, 0}},
      {"srun with a chosen port",
       with(srun, {{"MASTER_PORT", "4000"}, {"MASTER_ADDR", "m"}}),
       {"slurm", 5, 11, 1, 4, "m", 4000, false, 0}},
      {"a step on a part of the job",
       with(srun, {{"SLURM_STEP_NODELIST", "gpu010"}}),
       {"slurm", 5, 11, 1, 4, "gpu010", 18456, false, 0}},
      {"srun --pty bash", with(srun, {{"SLURM_JOB_NAME", "bash"}}), {}},
      {"salloc", with(srun, {{"SLURM_JOB_NAME", "interactive"}}), {}},
      {"a batch script without srun", without(srun, "SLURM_STEP_ID"), {}},
      {"mpirun", mpirun, {"openmpi", 1, 2, 1, 2, "h", 1234, false, 0}},
      {"a pod of a PyTorchJob", pod, {"environment", 1, 3, 0, 1, "job-master-0", 23456, false, 0}},
      {"one process, RANK set", {{"RANK", "0"}, {"WORLD_SIZE", "1"}}, {"environment", 0, 1, 0, 1, "", 0, false, 0}},
      {"TrainJob of one node", {{"PET_NNODES", "1"}}, {}},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.title);
    auto got = launch(row.variables);
    ASSERT_TRUE(got) << to_string(got.error());
    EXPECT_EQ(got->launcher, row.expected.launcher);
    EXPECT_EQ(got->rank, row.expected.rank);
    EXPECT_EQ(got->world, row.expected.world);
    EXPECT_EQ(got->local_rank, row.expected.local_rank);
    EXPECT_EQ(got->local_world, row.expected.local_world);
    EXPECT_EQ(got->master_address, row.expected.master_address);
    EXPECT_EQ(got->master_port, row.expected.master_port);
    EXPECT_EQ(got->agent_store, row.expected.agent_store);
    EXPECT_EQ(got->restart, row.expected.restart);
  }
}

TEST(launch, first_host_of_node_lists) {
  const std::pair<const char*, const char*> rows[] = {{"n1", "n1"},
                                                      {"n1,n2", "n1"},
                                                      {"n[3,5-7]", "n3"},
                                                      {"n[03-07,12]-ib,login", "n03-ib"},
                                                      {"rack[1-2]n[07-09]", "rack1n07"},
                                                      {"c-1-2,c-[3-4]", "c-1-2"}};
  for (auto [list, host] : rows) {
    auto got = launch(with(srun, {{"SLURM_JOB_NODELIST", list}}));
    ASSERT_TRUE(got) << list;
    EXPECT_EQ(got->master_address, host) << list;
  }
}

TEST(launch, what_is_missing_or_wrong_is_named) {
  const std::pair<Variables, const char*> rows[] = {
      {without(torchrun, "RANK"), "RANK is not set"},
      {without(torchrun, "MASTER_ADDR"), "MASTER_ADDR is not set"},
      {without(torchrun, "MASTER_PORT"), "MASTER_PORT is not set"},
      {with(torchrun, {{"RANK", "4"}}), "RANK = '4'"},
      {with(torchrun, {{"WORLD_SIZE", "two"}}), "WORLD_SIZE = 'two'"},
      {with(torchrun, {{"MASTER_PORT", "70000"}}), "MASTER_PORT = '70000'"},
      {without(srun, "SLURM_NTASKS"), "SLURM_NTASKS is not set"},
      {without(srun, "SLURM_JOB_NODELIST"), "SLURM_JOB_NODELIST is not set"},
      {with(srun, {{"SLURM_JOB_NODELIST", "gpu[01"}}), "SLURM_JOB_NODELIST is not set or not a list"},
      {without(mpirun, "MASTER_ADDR"), "MASTER_ADDR is not set"},
      {without(mpirun, "OMPI_COMM_WORLD_SIZE"), "OMPI_COMM_WORLD_SIZE is not set"},
      {without(pod, "WORLD_SIZE"), "WORLD_SIZE is not set"},
      {without(pod, "RANK"), "RANK is not set"},
      {without(pod, "MASTER_ADDR"), "MASTER_ADDR is not set"},
      {{{"PET_NNODES", "2"}}, "PET_NNODES = '2'"},
      {{{"PET_NNODES", "1:4"}}, "PET_NNODES = '1:4'"},
  };
  for (const auto& [variables, words] : rows) {
    auto got = launch(variables);
    ASSERT_FALSE(got) << words;
    EXPECT_EQ(got.error().id, "E5002");
    EXPECT_EQ(got.error().exit, Exit::config);
    EXPECT_NE(got.error().what.find(words), std::string::npos) << got.error().what << " lacks: " << words;
    EXPECT_FALSE(got.error().todo.empty());
  }
}

TEST(launch, failures_are_left_for_torchrun) {
  std::string path = ::testing::TempDir() + "t2i_launch_test." + std::to_string(getpid()) + ".json";
  setenv("TORCHELASTIC_ERROR_FILE", path.c_str(), 1);
  report_to_launcher("all_reduce: \"rank 1\" is gone\n\xff");
  unsetenv("TORCHELASTIC_ERROR_FILE");
  auto file = nlohmann::json::parse(std::ifstream(path));
  EXPECT_EQ(file["message"]["message"].get<std::string>().substr(0, 29), "all_reduce: \"rank 1\" is gone\n");
  EXPECT_GT(std::stoll(file["message"]["extraInfo"]["timestamp"].get<std::string>()), 1'700'000'000);
  std::remove(path.c_str());
  report_to_launcher("nobody asks");  // unset: does nothing
}

}  // namespace
}  // namespace t2i
