// What core/train/optimizer.h makes of weights and gradients from a file, for comparison with other implementations.
//   optimizer_probe IN OUT DTYPE [--one-by-one] [--rate NAME=TIMES]… KEY=VALUE…     keys as --set takes them
// IN: weights.NAME, grads.STEP.NAME (steps from 0), and where wanted grad_divisor [] and found_bad [steps]. OUT: after each
// step exact.STEP.NAME, in float32 wherever more than DTYPE is kept; at the end held.NAME, shown.NAME, and the optimizer's
// state as a checkpoint has it. --one-by-one gives each parameter its gradient by itself, the last one first; --rate gives one
// so many times the learning rate.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cstdio>
#include <map>

#include "core/checkpoint/safetensors.h"
#include "core/config/optimizer_check.h"
#include "core/model/load.h"
#include "core/precision/device.h"
#include "core/train/optimizer.h"

using namespace t2i;

namespace {

struct Probe {
  std::map<std::string, at::Tensor> in, out;
  ParamStore store{"probe"};
  OptimizerConfig config;
  bool one_by_one = false;
  std::map<std::string, double> rates;

  at::Tensor part(const at::Tensor& flat, const Parameter& p) const { return flat.narrow(0, p.offset, p.value.numel()).view(p.shape); }

  void read(const std::string& path, at::ScalarType held) {
    SafetensorsFile file = open_safetensors(path).take();
    for (const TensorEntry& e : file.tensors) in[e.name] = stored_tensor(e).clone();
    for (const auto& [name, tensor] : in)
      if (name.starts_with("weights.")) store.declare(name.substr(8), tensor.sizes().vec(), "zeros");
    store.keeps_gradients = !one_by_one;
    store.allocate(held, at::kCPU, [](const std::string&) { return true; });
    for (const Parameter& p : store.parameters) p.value.detach().copy_(in.at("weights." + p.name));
  }

  // Gradients are given in the dtype of the weights, as backward would.
  void step(Optimizer& optimizer, int64_t k) {
    const std::string prefix = "grads." + std::to_string(k) + ".";
    StepNumbers numbers{k, learning_rate_at(config, learning_rate_of(config), k, 1.0), at::ones({}), at::zeros({1})};
    if (in.contains("grad_divisor")) numbers.grad_divisor = in.at("grad_divisor");
    if (in.contains("found_bad")) numbers.found_bad = in.at("found_bad").narrow(0, k, 1);
    if (one_by_one) {
      optimizer.begin(numbers);
      for (size_t i = store.parameters.size(); i-- > 0;)
        optimizer.step_one(i, in.at(prefix + store.parameters[i].name).to(store.trained.scalar_type()), numbers);
    } else {
      store.trained_grad.zero_();
      for (const Parameter& p : store.parameters) part(store.trained_grad, p).copy_(in.at(prefix + p.name));
      optimizer.step(numbers);
    }
    put("exact." + std::to_string(k) + ".", optimizer.exact());
  }

  void put(const std::string& prefix, const at::Tensor& flat) {
    for (const Parameter& p : store.parameters) out[prefix + p.name] = part(flat, p).clone();
  }

  void run(int64_t seed) {
    std::vector<RateRange> ranges;
    for (const Parameter& p : store.parameters)
      if (rates.contains(p.name)) ranges.push_back({p.offset, p.offset + p.value.numel(), rates.at(p.name)});
    Optimizer optimizer(config, store, seed, ranges);
    const std::string first = store.parameters.front().name;
    for (int64_t k = 0; in.contains("grads." + std::to_string(k) + "." + first); ++k) step(optimizer, k);
    put("held.", store.trained);
    put("shown.", optimizer.shown());
    for (const StateBuffer& buffer : optimizer.buffers())
      for (const Place& p : buffer.places) out[buffer.name + "/" + p.parameter] = buffer.flat.narrow(0, p.offset, p.elements()).view(p.shape).clone();
    for (const auto& [name, value] : optimizer.scalars()) out[name] = value.clone();
    int64_t told = 0;
    for (const Parameter& p : store.parameters) told += optimizer_bytes(config, p.shape, store.trained.scalar_type());
    out["bytes"] = at::full({}, told, at::kLong);
  }
};

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 4) return 64;
  Probe probe;
  std::vector<Setting> settings;
  for (int i = 4; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--one-by-one") {
      probe.one_by_one = true;
    } else if (argument == "--rate" && i + 1 < argc) {
      const Setting rate = parse_setting(argv[++i]).take();
      probe.rates[rate.key] = std::stod(rate.value);
    } else {
      settings.push_back(parse_setting(argument).take());
    }
  }
  Config config = load_config_text("", "", settings);
  probe.config = config.optimizer;
  at::NoGradGuard no_grad;
  probe.read(argv[1], dtype_from(argv[3], "DTYPE"));
  probe.run(config.train.seed);
  std::vector<TensorSource> sources;
  for (auto& [name, tensor] : probe.out) {
    tensor = tensor.contiguous();
    sources.push_back(tensor_source(name, tensor));
  }
  write_safetensors(argv[2], sources);
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 70;
}
