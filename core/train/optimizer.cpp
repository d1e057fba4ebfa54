#include "core/train/optimizer.h"

#include <ATen/ATen.h>

#include "core/kernel/bf16_weights.h"
#include "core/train/optimizer/rules.h"

namespace t2i {
namespace {

// The names of the knob optimizer.name.
std::unique_ptr<UpdateRule> make_rule(const RuleSetup& setup) {
  static const std::vector<std::pair<std::string, std::unique_ptr<UpdateRule> (*)(const RuleSetup&)>> rules = {
      {"adamw", make_adamw}, {"adamw8bit", make_adamw8bit}, {"adafactor", make_adafactor},
      {"lion", make_lion},   {"prodigy", make_prodigy},     {"adamw_schedule_free", make_schedule_free}};
  for (const auto& [name, make] : rules)
    if (name == setup.config.name) return make(setup);
  TORCH_CHECK(false, "no optimizer is called ", setup.config.name);
}

std::vector<Place> places_of(const ParamStore& store) {
  std::vector<Place> places;
  for (const Parameter* p : store.trained_parameters()) places.push_back({p->name, p->shape, p->offset});
  return places;
}

}  // namespace

int64_t Place::elements() const {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}

Optimizer::Optimizer(const OptimizerConfig& config, const ParamStore& store, int64_t seed, std::vector<RateRange> ranges)
    : rounding_(config.bf16_weights), seed_(seed), grads_(store.trained_grad), places_(places_of(store)), rates_(places_.size(), 1.0) {
  at::NoGradGuard no_grad;
  TORCH_CHECK(store.trained.defined(), "nothing is trained in ", store.part);
  // The same memory with a version count of its own: one weight may change while backward still waits for its neighbours.
  weights_ = store.trained.variable_data();
  for (size_t i = 0; i < places_.size(); ++i)
    for (const RateRange& range : ranges)
      if (places_[i].offset >= range.begin && places_[i].offset < range.end) rates_[i] = range.rate;
  if (weights_.scalar_type() == at::kBFloat16 && rounding_ == "split") lower_ = at::zeros(weights_.sizes(), weights_.options().dtype(at::kShort));
  rule_ = make_rule({config, places_, exact().to(at::kFloat)});
}

at::Tensor Optimizer::exact() const { return lower_.defined() ? join_halves(weights_, lower_) : weights_; }

at::Tensor Optimizer::shown() const {
  at::NoGradGuard no_grad;
  return has_average() ? rule_->averaged(exact().to(at::kFloat)) : exact();
}

// `grads` are flat and begin where the first parameter does.
Piece Optimizer::piece_of(size_t first, size_t count, const at::Tensor& grads) const {
  Piece piece{first, count, places_[first].offset, {}, grads.to(at::kFloat), rates_[first]};
  at::Tensor held = weights_.narrow(0, piece.begin, grads.numel());
  piece.weights = lower_.defined() ? join_halves(held, lower_.narrow(0, piece.begin, grads.numel())) : held.to(at::kFloat);
  return piece;
}

void Optimizer::write_back(const Piece& piece, const StepNumbers& numbers) {
  if (weights_.scalar_type() == at::kFloat) return;  // the piece is the weights themselves
  at::Tensor held = weights_.narrow(0, piece.begin, piece.weights.numel());
  if (lower_.defined()) split_halves(piece.weights, held, lower_.narrow(0, piece.begin, piece.weights.numel()));
  else if (rounding_ == "stochastic_rounding") round_stochastically(piece.weights, held, {seed_, numbers.step, piece.begin});
  else held.copy_(piece.weights);
}

template <class Body>
void Optimizer::for_each_piece(Body body) {
  int64_t most = rule_->elements_at_once(weights_.device());
  if (weights_.scalar_type() != at::kFloat) most = std::min(most, rule_->UpdateRule::elements_at_once(weights_.device()));
  auto end_of = [&](size_t i) { return i + 1 < places_.size() ? places_[i + 1].offset : weights_.numel(); };
  for (size_t first = 0; first < places_.size();) {
    size_t last = first;
    const int64_t begin = places_[first].offset;
    while (last + 1 < places_.size() && rates_[last + 1] == rates_[first] && end_of(last + 1) - begin <= most) ++last;
    body(piece_of(first, last - first + 1, grads_.narrow(0, begin, end_of(last) - begin)));
    first = last + 1;
  }
}

void Optimizer::begin(const StepNumbers& numbers) {
  at::NoGradGuard no_grad;
  rule_->begin(numbers);
}

void Optimizer::step(const StepNumbers& numbers) {
  at::NoGradGuard no_grad;
  rule_->begin(numbers);
  if (rule_->looks_first()) {
    for_each_piece([&](const Piece& piece) { rule_->look(piece, numbers); });
    rule_->looked(numbers);
  }
  for_each_piece([&](const Piece& piece) {
    rule_->update(piece, numbers);
    write_back(piece, numbers);
  });
}

void Optimizer::step_one(size_t parameter, const at::Tensor& grad, const StepNumbers& numbers) {
  at::NoGradGuard no_grad;
  TORCH_CHECK(!rule_->looks_first(), "this optimizer must see all gradients at once");
  Piece piece = piece_of(parameter, 1, grad.reshape({-1}));
  rule_->update(piece, numbers);
  write_back(piece, numbers);
}

std::vector<StateBuffer> Optimizer::buffers() const {
  std::vector<StateBuffer> all = rule_->buffers();
  if (lower_.defined()) all.push_back({"weights_lower_half", lower_, places_});
  return all;
}

std::vector<StateScalar> Optimizer::scalars() const { return rule_->scalars(); }

int64_t optimizer_bytes(const OptimizerConfig& config, const std::vector<int64_t>& shape, at::ScalarType held) {
  ParamStore one("one");
  one.declare("weight", shape, "zeros");
  // On the meta device nothing is allocated: the rule itself tells what it would keep.
  one.allocate(held, at::kMeta, [](const std::string&) { return true; });
  int64_t bytes = 0;
  for (const StateBuffer& buffer : Optimizer(config, one, 0).buffers())
    for (const Place& place : buffer.places) bytes += place.elements() * static_cast<int64_t>(buffer.flat.element_size());
  return bytes;
}

}  // namespace t2i
