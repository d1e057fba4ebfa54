// Adafactor (Shazeer & Stern 2018, arXiv:1804.04235), as transformers.optimization.Adafactor has it. The mean of squared
// gradients of a matrix is kept as its rows' and its columns' means (algorithm 4): next to no state. A convolution's weight
// is many matrices, of its kernel's rows and columns.
#include <ATen/ATen.h>

#include <cmath>

#include "core/train/norm.h"
#include "core/train/optimizer/rules.h"

namespace t2i {
namespace {

at::Tensor rms(const at::Tensor& flat) { return norm_of(flat) / std::sqrt(static_cast<double>(flat.numel())); }

// A flat buffer that is filled from its beginning, a place for each parameter that has some of it.
struct Packed {
  std::vector<Place> places;
  std::vector<int64_t> index;  // by parameter; -1: it has none
  at::Tensor flat;

  void add(const std::string& parameter, std::vector<int64_t> shape) {
    const int64_t end = places.empty() ? 0 : places.back().offset + places.back().elements();
    index.push_back(static_cast<int64_t>(places.size()));
    places.push_back({parameter, std::move(shape), end});
  }
  void skip() { index.push_back(-1); }
  void allocate(const at::TensorOptions& options) {
    flat = at::zeros({places.empty() ? 0 : places.back().offset + places.back().elements()}, options);
  }
  at::Tensor of(size_t parameter) const {
    const Place& p = places[static_cast<size_t>(index[parameter])];
    return flat.narrow(0, p.offset, p.elements()).view(p.shape);
  }
};

class Adafactor final : public UpdateRule {
  const OptimizerConfig config_;
  const std::vector<Place> places_;
  Packed rows_, columns_, squares_;  // of matrices the first two, of vectors the third
  at::Tensor exp_avg_;               // undefined without a first moment
  at::Tensor step_;
  at::Tensor share_;  // of this step's squares in their mean: 1 - beta2_t (section 7.2)

 public:
  explicit Adafactor(const RuleSetup& setup)
      : config_(setup.config), places_(setup.places), step_(scalar_like_weights(setup, 0, at::kFloat)) {
    for (const Place& p : places_) {
      if (p.shape.size() >= 2) {
        std::vector<int64_t> row(p.shape.begin(), p.shape.end() - 1), column(p.shape.begin(), p.shape.end() - 2);
        column.push_back(p.shape.back());
        rows_.add(p.parameter, row), columns_.add(p.parameter, column), squares_.skip();
      } else {
        rows_.skip(), columns_.skip(), squares_.add(p.parameter, p.shape);
      }
    }
    for (Packed* packed : {&rows_, &columns_, &squares_}) packed->allocate(setup.weights.options());
    if (config_.adafactor_beta1 > 0) exp_avg_ = zeros_like_weights(setup);
  }

  void begin(const StepNumbers& numbers) override {
    count_step(step_, numbers);
    share_ = step_.to(at::kDouble).clamp_min(1).pow(config_.adafactor_decay_rate);
  }

  void update(const Piece& piece, const StepNumbers& numbers) override {
    at::Tensor grads = gradient_of(piece, numbers);
    for (size_t i = piece.first; i < piece.first + piece.count; ++i) {
      const int64_t begin = places_[i].offset - piece.begin, n = places_[i].elements();
      at::Tensor weights = piece.weights.narrow(0, begin, n), g = grads.narrow(0, begin, n).view(places_[i].shape);

      at::Tensor learning_rate = unless_bad(numbers, numbers.learning_rate * piece.rate, 0);
      if (config_.adafactor_scale_parameter) learning_rate = learning_rate * rms(weights).clamp_min(config_.adafactor_eps2);

      at::Tensor update = scaled_gradient(i, g, numbers).reshape(-1);
      update.div_(rms(update).div_(config_.adafactor_clip_threshold).clamp_min_(1.0)).mul_(learning_rate);
      update.masked_fill_(numbers.found_bad.reshape({}).ne(0), 0);  // it may be 0/0
      if (exp_avg_.defined()) {
        at::Tensor mean = exp_avg_.narrow(0, places_[i].offset, n);
        mean.mul_(unless_bad(numbers, config_.adafactor_beta1, 1)).add_(update, 1 - config_.adafactor_beta1);
        update = mean.mul(unless_bad(numbers, 1, 0));
      }
      if (config_.adafactor_weight_decay > 0) weights.mul_(1 - config_.adafactor_weight_decay * learning_rate);
      weights.sub_(update);
    }
  }

  std::vector<StateBuffer> buffers() const override {
    std::vector<StateBuffer> all{{"exp_avg_sq_row", rows_.flat, rows_.places},
                                 {"exp_avg_sq_col", columns_.flat, columns_.places},
                                 {"exp_avg_sq", squares_.flat, squares_.places}};
    if (exp_avg_.defined()) all.push_back({"exp_avg", exp_avg_, places_});
    return all;
  }
  std::vector<StateScalar> scalars() const override { return {{"optimizer_step", step_}}; }

 private:
  // The gradient over the root of its mean square, estimated from rows and columns (equation 4 of the paper).
  at::Tensor scaled_gradient(size_t i, const at::Tensor& g, const StepNumbers& numbers) {
    at::Tensor share = unless_bad(numbers, share_, 0), kept = unless_bad(numbers, 1 - share_, 1);
    at::Tensor square = g.square().add_(config_.adafactor_eps1);
    if (g.dim() < 2) {
      at::Tensor mean = squares_.of(i);
      mean.mul_(kept).add_(square.mul_(share));
      return mean.rsqrt().mul_(g);
    }
    at::Tensor row = rows_.of(i), column = columns_.of(i);
    row.mul_(kept).add_(square.mean(-1).mul_(share));
    column.mul_(kept).add_(square.mean(-2).mul_(share));
    at::Tensor of_rows = row.div(row.mean(-1, /*keepdim=*/true)).rsqrt_().unsqueeze(-1);
    return of_rows.mul(column.rsqrt().unsqueeze(-2)).mul_(g);
  }
};

}  // namespace

std::unique_ptr<UpdateRule> make_adafactor(const RuleSetup& setup) { return std::make_unique<Adafactor>(setup); }

}  // namespace t2i
