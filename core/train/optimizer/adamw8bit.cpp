// AdamW with moments in eight bits, as bitsandbytes' AdamW8bit: two bytes of state for a weight instead of eight, and a
// scale for each block of 256 (core/kernel/adam8.h). Parameters of less than 4096 weights keep float32 moments, as there:
// together they are small, and among them are norms, which are sensitive.
#include <ATen/ATen.h>

#include <cmath>

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
      else if (weights.is_cpu()) update_on_cpu(index_[i], weights, grads, piece.rate, numbers);
      else update_anywhere(index_[i], {i, 1, places_[i].offset, weights, grads, piece.rate}, numbers);
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

  // What is on the host may be looked at.
  void update_on_cpu(size_t i, const at::Tensor& weights, const at::Tensor& grads, double rate, const StepNumbers& numbers) {
    if (*numbers.found_bad.const_data_ptr<float>() != 0) return;
    const double step = *step_.const_data_ptr<float>(), learning_rate = numbers.learning_rate * rate;
    const double beta1 = config_.adam_beta1, beta2 = config_.adam_beta2;
    auto in_float = [](double x) { return static_cast<float>(x); };
    Adam8Numbers a{*numbers.grad_divisor.const_data_ptr<float>(),
                   in_float(beta1),
                   in_float(1 - beta1),
                   in_float(beta2),
                   in_float(1 - beta2),
                   in_float(learning_rate / (1 - std::pow(beta1, step))),
                   in_float(std::sqrt(1 - std::pow(beta2, step))),
                   in_float(config_.adam_epsilon),
                   in_float(1 - learning_rate * config_.adam_weight_decay)};
    adam8_update(a, weights, grads, moment(mean_codes_, mean_scales_, i), moment(square_codes_, square_scales_, i));
  }

  // The same with ATen's operations; nobody waits to learn whether the step is left out.
  void update_anywhere(size_t i, const Piece& piece, const StepNumbers& numbers) {
    CodedMoment coded_mean = moment(mean_codes_, mean_scales_, i), coded_square = moment(square_codes_, square_scales_, i);
    at::Tensor g = gradient_of(piece, numbers), mean = unpack_moment(coded_mean, true), square = unpack_moment(coded_square, false);
    mean.mul_(config_.adam_beta1).add_(g, 1 - config_.adam_beta1);
    square.mul_(config_.adam_beta2).addcmul_(g, g, 1 - config_.adam_beta2);
    at::Tensor t = step_.to(at::kDouble).clamp_min(1);
    at::Tensor first = 1 - at::pow(config_.adam_beta1, t), second = (1 - at::pow(config_.adam_beta2, t)).sqrt_();
    const double learning_rate = numbers.learning_rate * piece.rate;
    at::Tensor denominator = square.sqrt().div_(second.to(at::kFloat)).add_(config_.adam_epsilon);
    piece.weights.mul_(unless_bad(numbers, 1 - learning_rate * config_.adam_weight_decay, 1));
    piece.weights.sub_(mean.div(denominator).mul_(unless_bad(numbers, learning_rate / first, 0)));
    pack_unless_bad(mean, true, coded_mean, numbers), pack_unless_bad(square, false, coded_square, numbers);
  }

  static void pack_unless_bad(const at::Tensor& x, bool has_sign, CodedMoment& moment, const StepNumbers& numbers) {
    CodedMoment made{at::empty_like(moment.codes), at::empty_like(moment.scales)};
    pack_moment(x, has_sign, made);
    at::Tensor bad = numbers.found_bad.reshape({}).ne(0);
    moment.codes.copy_(at::where(bad, moment.codes, made.codes));
    moment.scales.copy_(at::where(bad, moment.scales, made.scales));
  }
};

}  // namespace

std::unique_ptr<UpdateRule> make_adamw8bit(const RuleSetup& setup) { return std::make_unique<AdamW8bit>(setup); }

}  // namespace t2i
