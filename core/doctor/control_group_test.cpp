// As the kernel's documentation lays the files out: admin-guide/cgroup-v2 and cgroup-v1/memory.
#include "core/doctor/control_group.h"

#include <gtest/gtest.h>

#include "core/doctor/made_machine.h"

using namespace t2i;

TEST(ControlGroup, TheLowestLimitUpToTheTopCounts) {
  MadeMachine m;
  m.write("proc/self/cgroup", "0::/user.slice/job.scope\n");
  EXPECT_EQ(memory_limit(m), 0u);
  m.write("sys/fs/cgroup/user.slice/job.scope/memory.max", "max\n");
  EXPECT_EQ(memory_limit(m), 0u);
  m.write("sys/fs/cgroup/user.slice/memory.max", "8000000000\n");
  EXPECT_EQ(memory_limit(m), 8000000000u);
  m.write("sys/fs/cgroup/user.slice/job.scope/memory.max", "9000000000\n");
  EXPECT_EQ(memory_limit(m), 8000000000u);
  m.write("sys/fs/cgroup/user.slice/job.scope/memory.max", "7000000000\n");
  EXPECT_EQ(memory_limit(m), 7000000000u);
}

TEST(ControlGroup, AContainerSeesItsOwnAsTheTop) {
  MadeMachine m;
  m.write("proc/self/cgroup", "0::/\n");
  m.write("sys/fs/cgroup/memory.max", "4000000000\n");
  m.write("sys/fs/cgroup/cpu.max", "250000 100000\n");
  EXPECT_EQ(memory_limit(m), 4000000000u);
  EXPECT_DOUBLE_EQ(processor_quota(m), 2.5);
  m.write("sys/fs/cgroup/cpu.max", "max 100000\n");
  EXPECT_DOUBLE_EQ(processor_quota(m), 0);
}

TEST(ControlGroup, VersionOne) {
  MadeMachine m;
  m.write("proc/self/cgroup", "4:cpu,cpuacct:/slurm/job_7\n3:memory:/slurm/job_7\n0::/\n");
  m.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");  // how it says "none"
  EXPECT_EQ(memory_limit(m), 0u);
  m.write("sys/fs/cgroup/memory/slurm/job_7/memory.limit_in_bytes", "16000000000\n");
  EXPECT_EQ(memory_limit(m), 16000000000u);
  m.write("sys/fs/cgroup/cpu/slurm/job_7/cpu.cfs_quota_us", "-1\n");
  m.write("sys/fs/cgroup/cpu/slurm/job_7/cpu.cfs_period_us", "100000\n");
  EXPECT_DOUBLE_EQ(processor_quota(m), 0);
  m.write("sys/fs/cgroup/cpu/slurm/job_7/cpu.cfs_quota_us", "400000\n");
  EXPECT_DOUBLE_EQ(processor_quota(m), 4);
}
