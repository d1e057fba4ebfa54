// What makes new weights of gradients. Each method (AdamW, Lion, …) is an UpdateRule in a file of its own in
// core/train/optimizer/; an Optimizer is a rule at work on the flat buffers of one part. The gradient's scale and the flag
// that leaves a bad step out are tensors on the device, so the host never waits and a step can be captured.
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/config/config.h"
#include "core/model/params.h"

namespace t2i {

// Where a parameter, or something of it, lies in a flat buffer.
struct Place {
  std::string parameter;
  std::vector<int64_t> shape;
  int64_t offset = 0;  // in elements
  int64_t elements() const;
};

// A part of an optimizer's state. A checkpoint has it as NAME/PARAMETER for each place.
struct StateBuffer {
  std::string name;
  at::Tensor flat;
  std::vector<Place> places;
};
using StateScalar = std::pair<std::string, at::Tensor>;

// Parameters that follow one another in the flat buffers. Weights and gradients are float32 here, whatever the model
// holds them in.
struct Piece {
  size_t first = 0, count = 0;    // parameters, in the order of the flat buffer
  int64_t begin = 0;              // in elements
  at::Tensor weights, grads;      // flat; what lies between two parameters is zero in both
  double rate = 1;                // times the step's learning rate
};

// Numbers that all pieces of a step share.
struct StepNumbers {
  int64_t step = 0;          // steps done before this one
  double learning_rate = 0;
  at::Tensor grad_divisor;   // float32 scalar: the gradient stands for itself divided by this
  at::Tensor found_bad;      // [1] float32: 1 leaves everything as it is
};

// One method. begin(), then every piece once; a piece whose own gradient is bad may come with other numbers.
class UpdateRule {
 public:
  virtual ~UpdateRule() = default;
  virtual void begin(const StepNumbers& numbers) = 0;
  virtual void update(const Piece& piece, const StepNumbers& numbers) = 0;

  // A rule that must know every gradient before the first weight moves sees all pieces once before: look(), looked().
  virtual bool looks_first() const { return false; }
  virtual void look(const Piece&, const StepNumbers&) {}
  virtual void looked(const StepNumbers&) {}

  virtual std::vector<StateBuffer> buffers() const = 0;
  virtual std::vector<StateScalar> scalars() const = 0;

  // Are the weights to draw with and to keep in the end others than those that are trained? Then these, in float32.
  virtual bool has_average() const { return false; }
  virtual at::Tensor averaged(const at::Tensor& weights) const { return weights; }
  // Elements of a piece, unless one parameter is larger: what is made on the way is as large as the piece.
  virtual int64_t elements_at_once(at::Device device) const { return device.is_cuda() ? int64_t{1} << 25 : int64_t{1} << 18; }
};

// A range of the flat buffer with a learning rate of its own: the step's, times `rate`.
struct RateRange {
  int64_t begin = 0, end = 0;
  double rate = 1;
};

class Optimizer {
 public:
  Optimizer() = default;
  // `seed`: of stochastic rounding. `ranges` may name some of the elements; the others have rate 1.
  Optimizer(const OptimizerConfig& config, const ParamStore& weights, int64_t seed, std::vector<RateRange> ranges = {});

  // One update of all weights from the flat gradients.
  void step(const StepNumbers& numbers);

  // The same, one parameter at a time in any order, for gradients that come and go: begin(), then each parameter once.
  void begin(const StepNumbers& numbers);
  void step_one(size_t parameter, const at::Tensor& grad, const StepNumbers& numbers);

  // The trained weights in as many bits as are known of them: float32, or bfloat16 where no more is kept.
  at::Tensor exact() const;
  // As exact(), of the weights to draw with: the rule's average where it has one.
  at::Tensor shown() const;
  bool has_average() const { return rule_->has_average(); }

  std::vector<StateBuffer> buffers() const;
  std::vector<StateScalar> scalars() const;

 private:
  Piece piece_of(size_t first, size_t count, const at::Tensor& grads) const;
  void write_back(const Piece& piece, const StepNumbers& numbers);
  template <class Body>
  void for_each_piece(Body body);

  std::unique_ptr<UpdateRule> rule_;
  std::string rounding_;       // of weights in bfloat16: split, stochastic_rounding, plain
  int64_t seed_ = 0;
  at::Tensor weights_, grads_;  // the store's flat buffers; no gradients where they come one at a time
  at::Tensor lower_;           // int16, of split weights: core/kernel/bf16_weights.h
  std::vector<Place> places_;
  std::vector<double> rates_;  // by parameter
};

// Bytes of state for one parameter that is held as `held`.
int64_t optimizer_bytes(const OptimizerConfig& config, const std::vector<int64_t>& shape, at::ScalarType held);

}  // namespace t2i
