#include "core/config/starter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "core/config/knob.h"

using namespace t2i;
using testing::HasSubstr;
using testing::Not;

namespace {

const char* const chosen =
    "task: {name: mine, rate: 0.05}\nmodel: {path: 'a: b'}\ntrain: {seed: 42, use_ema: yes}\n"
    "data: {columns: {image: before}}\noptimizer: {learning_rate: 1e-4}\n";

StarterText with_options(bool every_key = false) {
  return {{"what this is"}, {{"task", nlohmann::json::parse(R"({"rate": {"type": "number", "default": 0, "description": "how often"},
                                                               "other": {"type": "integer", "default": 3, "description": "how much"}})")}}, every_key};
}

}  // namespace

TEST(Starter, WhatWasChosenUnderItsSentence) {
  Config config = load_config_text(chosen, "a.yaml", {});
  std::string text = write_starter(config, with_options());
  EXPECT_THAT(text, HasSubstr("# what this is\n"));
  EXPECT_THAT(text, HasSubstr("# All randomness follows from this number.\n  seed: 42\n"));  // its default, and chosen all the same
  EXPECT_THAT(text, HasSubstr("task:\n  name: mine\n  # how often\n  rate: 0.05\n"));
  EXPECT_THAT(text, Not(HasSubstr("max_train_steps")));
  EXPECT_THAT(text, Not(HasSubstr("lora")));
}

TEST(Starter, ReadsBackAsItWas) {
  Config config = load_config_text(chosen, "a.yaml", {});
  for (bool every_key : {false, true}) {
    Config again = load_config_text(write_starter(config, with_options(every_key)), "b.yaml", {});
    EXPECT_EQ(to_json(again), to_json(config));
    EXPECT_EQ(config_hash(again), config_hash(config));
  }
  EXPECT_EQ(to_json(load_config_text(write_starter(Config(), {}), "c.yaml", {})), to_json(Config()));
}

TEST(Starter, EveryKeyIsThereToBeUncommented) {
  std::string text = write_starter(load_config_text(chosen, "a.yaml", {}), with_options(true));
  for (const Knob& knob : knobs()) EXPECT_THAT(text, HasSubstr(leaf_of(knob.key) + ":")) << knob.key;
  EXPECT_THAT(text, HasSubstr("  # how much\n  # other: 3\n"));
  // Without the '#' before its values it is a configuration too: that of the defaults where nothing was chosen.
  std::istringstream lines(write_starter(Config(), {{}, {}, true}));
  std::string all;
  for (std::string line; std::getline(lines, line);) {
    const size_t hash = line.find("# "), colon = line.find(": ");
    const std::string key = hash == line.npos || colon == line.npos ? "" : line.substr(hash + 2, colon - hash - 2);
    const bool is_key = !key.empty() && key.find_first_not_of("abcdefghijklmnopqrstuvwxyz_0123456789") == key.npos;
    all += is_key ? line.erase(hash, 2) + "\n" : line + "\n";
  }
  EXPECT_THAT(all, HasSubstr("  seed: 42\n"));
  EXPECT_EQ(to_json(load_config_text(all, "d.yaml", {})), to_json(Config()));
}

TEST(Starter, LinesAreShort) {
  std::istringstream lines(write_starter(Config(), {{}, {}, true}));
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 130u) << line;  // a value may be longer than a sentence's line
}
