// AdamW with moments in eight bits, as bitsandbytes' AdamW8bit: two bytes of state for a weight instead of eight, and a
// scale for each block of 256 (core/kernel/adam8.h). Parameters of less than 4096 weights keep float32 moments, as there:
// together they are small, and among them are norms, which are sensitive.
#include <ATen/ATen.h>

#include "core/kernel/adam8.h"
#include "core/train/optimizer/rules.h"

namespace t2i {
namespace {

constexpr int64_t least_coded = 4096;

class AdamW8bit final : public UpdateRule {
  const OptimizerConfig config_;
  std::vector<Place> coded_, scales_, plain_;  // places in the buffers below
  std::vector<Place> places_;                  // of the weights
  std::vector<size_t> index_;                  // by parameter, in coded_ or plain_
  at::Tensor mean_codes_, mean_scales_, square_codes_, square_scales_;
  at::Tensor mean_, square_;  // of the small ones
  at::Tensor step_;

  static int64_t end_of(const std::vector<Place>& places) { return places.empty() ? 0 : places.back().offset + places.back().elements(); }

 public:
  explicit AdamW8bit(const RuleSetup& setup)
      : config_(setup.config), places_(setup.places), step_(scalar_like_weights(setup, 0, at::kFloat)) {
    for (const Place& p : places_) {
      const bool is_coded = p.elements() >= least_coded;
      std::vector<Place>& list = is_coded ? coded_ : plain_;
      index_.push_back(list.size());
      list.push_back({p.parameter, p.shape, end_of(list)});
      if (is_coded) scales_.push_back({p.parameter, {adam8_blocks(p.elements())}, end_of(scales_)});
    }
    auto zeros = [&](const std::vector<Place>& places, at::ScalarType type) {
      return at::zeros({end_of(places)}, setup.weights.options().dtype(type));
    };
    // Code 0 of a block whose scale is 0 stands for 0.
    mean_codes_ = zeros(coded_, at::kByte), square_codes_ = zeros(coded_, at::kByte);
    mean_scales_ = zeros(scales_, at::kFloat), square_scales_ = zeros(scales_, at::kFloat);
    mean_ = zeros(plain_, at::kFloat), square_ = zeros(plain_, at::kFloat);
  }

  void begin(const StepNumbers& numbers) override { count_step(step_, numbers); }

  void update(const Piece& piece, const StepNumbers& numbers) override {
    for (size_t i = piece.first; i < piece.first + piece.count; ++i) {
      const int64_t begin = places_[i].offset - piece.begin, n = places_[i].elements();
      at::Tensor weights = piece.weights.narrow(0, begin, n), grads = piece.grads.narrow(0, begin, n);
      if (n < least_coded) update_plain(plain_[index_[i]], weights, grads, piece.rate, numbers);
      else update_coded(index_[i], weights, grads, piece.rate, numbers);
    }
  }

  std::vector<StateBuffer> buffers() const override {
    return {{"exp_avg_code", mean_codes_, coded_},     {"exp_avg_scale", mean_scales_, scales_}, {"exp_avg_sq_code", square_codes_, coded_},
            {"exp_avg_sq_scale", square_scales_, scales_}, {"exp_avg", mean_, plain_},           {"exp_avg_sq", square_, plain_}};
  }
  std::vector<StateScalar> scalars() const override { return {{"optimizer_step", step_}}; }

 private:
  void update_plain(const Place& at, const at::Tensor& weights, const at::Tensor& grads, double rate, const StepNumbers& numbers) {
    at::_fused_adamw_({weights}, {grads}, {mean_.narrow(0, at.offset, at.elements())}, {square_.narrow(0, at.offset, at.elements())}, {}, {step_},
                      numbers.learning_rate * rate, config_.adam_beta1, config_.adam_beta2, config_.adam_weight_decay, config_.adam_epsilon,
                      /*amsgrad=*/false, /*maximize=*/false, numbers.grad_divisor.reshape({}), numbers.found_bad.reshape({}));
  }

  CodedMoment moment(const at::Tensor& codes, const at::Tensor& scales, size_t i) const {
    return {codes.narrow(0, coded_[i].offset, coded_[i].elements()), scales.narrow(0, scales_[i].offset, scales_[i].elements())};
  }

  void update_coded(size_t i, const at::Tensor& weights, const at::Tensor& grads, double rate, const StepNumbers& numbers) {
    const Adam8Options options{numbers.learning_rate * rate, config_.adam_beta1, config_.adam_beta2, config_.adam_epsilon, config_.adam_weight_decay};
    adam8_update(options, {step_, numbers.grad_divisor, numbers.found_bad}, weights, grads, moment(mean_codes_, mean_scales_, i),
                 moment(square_codes_, square_scales_, i));
  }
};

}  // namespace

std::unique_ptr<UpdateRule> make_adamw8bit(const RuleSetup& setup) { return std::make_unique<AdamW8bit>(setup); }

}  // namespace t2i
