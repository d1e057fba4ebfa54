#include "core/train/optimizer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/config/optimizer_check.h"

namespace t2i {
namespace {

void allocate(ParamStore& store) {
  store.declare("first", {6, 5}, "ones");
  store.declare("second", {40}, "ones");
  store.declare("third", {3, 3}, "ones");
  store.allocate(at::kFloat, at::kCPU, [](const std::string&) { return true; });
  store.initialize(0);
  store.trained_grad.zero_();
  for (const Parameter& p : store.parameters) p.value.grad().fill_(0.5);
}

// Every optimizer, with a range of the buffer that has a tenth of the learning rate, and one that has none.
TEST(Optimizer, RangesHaveTheirOwnLearningRate) {
  for (const std::string& name : optimizer_names()) {
    OptimizerConfig config;
    config.name = name;
    config.adam_weight_decay = 0;
    ParamStore store("test");
    allocate(store);
    const double tenth = name == "prodigy" ? 1.0 : 0.1;  // Prodigy's rate is one for all: 1 or 0 times
    std::vector<RateRange> ranges{{store.parameters[1].offset, store.parameters[1].offset + 40, tenth},
                                  {store.parameters[2].offset, store.parameters[2].offset + 9, 0.0}};
    Optimizer optimizer(config, store, 0, ranges);
    optimizer.step({0, 0.01, at::ones({}), at::zeros({1})});
    auto way = [&](size_t i) { return (1 - store.parameters[i].value).abs().max().item<double>(); };
    EXPECT_GT(way(0), 0) << name;
    EXPECT_NEAR(way(1), tenth * way(0), 1e-6) << name;
    EXPECT_EQ(way(2), 0) << name;
  }
}

TEST(Optimizer, WhatLiesBetweenParametersStaysZero) {
  for (const std::string& name : optimizer_names()) {
    OptimizerConfig config;
    config.name = name;
    ParamStore store("test");
    allocate(store);
    Optimizer optimizer(config, store, 0);
    for (int64_t k = 0; k < 3; ++k) optimizer.step({k, 0.01, at::ones({}), at::zeros({1})});
    for (const Parameter& p : store.parameters)
      if (int64_t end = p.offset + p.value.numel(), rest = (16 - end % 16) % 16; rest) {
        EXPECT_EQ(store.trained.narrow(0, end, rest).abs().max().item<double>(), 0) << name << " after " << p.name;
      }
  }
}

}  // namespace
}  // namespace t2i
