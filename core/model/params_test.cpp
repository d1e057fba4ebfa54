// Weights of one part in the buffers of another (ParamStore::host()).
#include "core/model/params.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace t2i {
namespace {

const auto all = [](const std::string&) { return true; };
const auto none = [](const std::string&) { return false; };

struct TwoParts {
  ParamStore denoiser{"denoiser"}, text{"text"};
  TwoParts() {
    denoiser.declare("a", {3, 5}, "zeros");
    denoiser.declare("b", {7}, "zeros");
    text.declare("words", {10, 2}, "zeros");
    text.declare("unread", {4}, "zeros");
    text.declare("places", {6}, "buffer");
    denoiser.host(text, [](const Parameter& p) { return p.name != "unread"; });
  }
};

TEST(Guests, LieFirstInTheBuffersThatTheyAreTrainedIn) {
  TwoParts p;
  p.denoiser.add("factor", {2}, "zeros");
  p.denoiser.allocate(at::kFloat, at::kCPU, all);
  p.text.allocate(at::kFloat, at::kCPU, none);
  std::vector<std::string> names;
  int64_t end = 0;
  for (const Parameter* one : p.denoiser.trained_parameters()) {
    names.push_back(one->name);
    EXPECT_GE(one->offset, end) << one->name;
    end = one->offset + one->value.numel();
  }
  EXPECT_EQ(names, (std::vector<std::string>{"text.words", "a", "b", "factor"}));

  const Parameter& words = *p.text.find("words");
  EXPECT_TRUE(words.trainable && words.value.requires_grad() && words.value.is_alias_of(p.denoiser.trained));
  EXPECT_TRUE(words.value.is_same(p.denoiser.guests[0].value));
  EXPECT_EQ(words.offset, p.denoiser.guests[0].offset);
  p.denoiser.trained_grad.zero_();
  (words.value * 3).sum().backward();
  EXPECT_EQ(p.denoiser.trained_grad.narrow(0, words.offset, 20).min().item<float>(), 3);
}

TEST(Guests, WhatIsNotTrainedStaysAtHome) {
  TwoParts p;
  p.denoiser.allocate(at::kFloat, at::kCPU, none);
  p.text.allocate(at::kFloat, at::kCPU, none);
  EXPECT_FALSE(p.text.trained.defined());
  for (const char* name : {"unread", "places"}) {
    EXPECT_TRUE(p.text.find(name)->value.is_alias_of(p.text.frozen)) << name;
    EXPECT_FALSE(p.text.find(name)->trainable) << name;
  }
  EXPECT_EQ(p.text.count(), 24);
  EXPECT_EQ(p.text.trained_count(), 20);
  EXPECT_EQ(p.denoiser.count(), 22);
  EXPECT_EQ(p.denoiser.trained_count(), 0);
  EXPECT_TRUE(p.text.trains_own());
  EXPECT_FALSE(p.denoiser.trains_own());
  EXPECT_EQ(p.denoiser.guest_bytes(), 80u);
  EXPECT_EQ(p.denoiser.trained_parameters().size(), 1u);
}

}  // namespace
}  // namespace t2i
