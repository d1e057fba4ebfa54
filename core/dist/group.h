// The processes of one run, as the training step sees them. Passed in, so that a test can run a step alone or with a
// pretended world. The engine is torch's own c10d (TCPStore, Gloo, NCCL) under torchrun, srun or mpirun; nothing here
// launches, restarts or finds processes.
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/dist/launch.h"

namespace t2i {

// A collective under way. wait() makes its result usable by what follows; a dead or late peer is Failure E5001 (76).
class Pending {
 public:
  virtual ~Pending() = default;
  virtual void wait() = 0;
};

class Group {
 public:
  virtual ~Group() = default;
  virtual int rank() const = 0;
  virtual int world() const = 0;
  bool is_first() const { return rank() == 0; }

  // Sum over all ranks, in place; `what` names the collective in messages ("gradients 3"). The tensor must stay alive
  // until wait() and be contiguous. [step thread, or an autograd thread]
  virtual std::unique_ptr<Pending> start_all_reduce(at::Tensor tensor, const std::string& what) = 0;
  void all_reduce(at::Tensor tensor, const std::string& what) { start_all_reduce(std::move(tensor), what)->wait(); }
  virtual void broadcast(at::Tensor tensor, int from_rank, const std::string& what) = 0;
  // Sum of every rank's number, through the hosts alone: no device is waited for. Cheap enough for every step.
  virtual double sum_on_hosts(double number, const std::string& what) = 0;
  // Every rank's text, by rank. Small texts, no device involved: settings, counts, versions.
  virtual std::vector<std::string> gather_text(const std::string& text, const std::string& what) = 0;
  // Everyone waits for everyone, through the store and with its own long limit: for work that one rank does alone.
  virtual void barrier(const std::string& what) = 0;
};

// A world of one: collectives do nothing.
std::unique_ptr<Group> single_group();
// The group that the environment describes: single, or c10d over NCCL on GPUs and Gloo on CPUs.
std::unique_ptr<Group> make_group(const Launch& launch, at::Device device, int timeout_seconds);

// Before the first collective: every rank must have the same values (configuration hash, data fingerprint, versions).
// Failure E5003 (76) on every rank shows both values and the ranks that have them.
void require_equal(Group& group, const std::vector<std::pair<std::string, std::string>>& named_values);

}  // namespace t2i
