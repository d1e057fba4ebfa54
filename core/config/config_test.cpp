#include "core/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "core/config/json_schema.h"
#include "core/config/knob.h"

using namespace t2i;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

Setting set(const std::string& text) { return parse_setting(text).take(); }

std::vector<std::string> problems(const std::string& yaml, const std::vector<Setting>& settings = {}) {
  try {
    load_config_text(yaml, "a.yaml", settings);
  } catch (const Failure& failure) {
    std::vector<std::string> out;
    for (const Error& error : failure.errors) {
      out.push_back(to_string(error));
      EXPECT_EQ(error.exit, Exit::config);
    }
    return out;
  }
  return {};
}

Config load(const std::string& yaml, const std::vector<Setting>& settings = {}) {
  return load_config_text(yaml, "a.yaml", settings);
}

}  // namespace

TEST(Config, DefaultsAreTheStructs) {
  EXPECT_EQ(to_json(load("")), to_json(Config()));
  EXPECT_EQ(to_json(load("train:\ndata: null\n")), to_json(Config()));
}

TEST(Config, ReadsEveryTypeWithItsPosition) {
  Config c = load(
      "task: {name: mine, rate: 0.25, deep: true, names: [a, 2]}\n"
      "loss: plain\n"
      "optimizer: adamw\n"
      "train:\n"
      "  max_train_steps: 12\n"
      "  max_grad_norm: 5e-1\n"
      "  mixed_precision: no\n"
      "data: {columns: {input_image: before, answer: 'no'}, random_flip: off, resolution: 64}\n"
      "validation:\n"
      "  prompts: [\"a: b\", 7]\n"
      "report_to: []\n");
  EXPECT_EQ(c.task.name, "mine");
  EXPECT_EQ(c.task.options, nlohmann::json::parse(R"({"rate": 0.25, "deep": true, "names": ["a", 2]})"));
  EXPECT_EQ(c.loss.name, "plain");
  EXPECT_EQ(c.optimizer.name, "adamw");
  EXPECT_EQ(c.train.max_train_steps, 12);
  EXPECT_EQ(c.train.max_grad_norm, 0.5);
  EXPECT_EQ(c.train.mixed_precision, "no");  // a text to whom texts are wanted, not false
  EXPECT_EQ(c.data.columns, (std::map<std::string, std::string>{{"input_image", "before"}, {"answer", "no"}}));
  EXPECT_FALSE(c.data.random_flip);
  EXPECT_EQ(c.data.resolution, 64);
  EXPECT_THAT(c.validation.prompts, ElementsAre("a: b", "7"));
  EXPECT_TRUE(c.report_to.empty());
  EXPECT_EQ(c.positions["train.max_train_steps"], "a.yaml:5:20");
  EXPECT_EQ(c.positions["task.rate"], "a.yaml:1:26");
}

TEST(Config, SettingsOverrideAndMayBeRawText) {
  Config c =
      load("train: {seed: 1}\nloss: {name: first, gamma: 2}\ndata: {columns: {a: b}}\n",
           {set("train.seed=9"), set("loss.gamma=3"), set("loss.shape=[1, 2]"), set("data.columns.input_image=img"),
            set("validation.prompts=[red, 'a, b']"), set("output=runs/a: b #1"), set("plugin=null"),
            set("train.max_train_steps=null"), set("task.rate=0.1"), set("task=mine"), set("optimizer=adamw")});
  EXPECT_EQ(c.train.seed, 9);
  EXPECT_EQ(c.loss.options, nlohmann::json::parse(R"({"gamma": 3, "shape": [1, 2]})"));
  EXPECT_EQ(c.data.columns, (std::map<std::string, std::string>{{"a", "b"}, {"input_image", "img"}}));
  EXPECT_THAT(c.validation.prompts, ElementsAre("red", "a, b"));
  EXPECT_EQ(c.output, "runs/a: b #1");
  EXPECT_EQ(c.plugin.name, "");
  EXPECT_EQ(c.train.max_train_steps, std::nullopt);
  EXPECT_EQ(c.task.name, "mine");
  EXPECT_EQ(c.task.options["rate"], 0.1);
  EXPECT_EQ(c.positions["loss.gamma"], "--set loss.gamma");
}

TEST(Config, AnotherComponentForgetsTheFirstOnesOptions) {
  Config other = load("loss: {name: first, gamma: 2}\n", {set("loss=second")});
  EXPECT_EQ(other.loss.name, "second");
  EXPECT_TRUE(other.loss.options.empty());
  EXPECT_EQ(other.positions.count("loss.gamma"), 0u);
  Config same = load("loss: {name: first, gamma: 2}\n", {set("loss=first")});
  EXPECT_EQ(same.loss.options["gamma"], 2);
}

TEST(Config, AllProblemsAtOnce) {
  EXPECT_THAT(
      problems("train:\n  seed: x\n  sede: 1\nzebra: 2\ntrain: 3\nlora: {rnak: 4}\n",
               {set("train.seed=1.5"), set("nothing.at.all=1")}),
      ElementsAre(HasSubstr("'train' is already set at line 1"),
                  HasSubstr("a.yaml:2:9: train.seed = x is not an integer"),
                  HasSubstr("a.yaml:3:3: unknown key 'train.sede'. Did you mean 'train.seed'?"),
                  HasSubstr("a.yaml:4:1: unknown key 'zebra'"), HasSubstr("a.yaml:6:8: unknown key 'lora.rnak'. Did you mean 'lora.rank'?"),
                  HasSubstr("--set train.seed: train.seed = 1.5 is not an integer"),
                  HasSubstr("--set nothing.at.all: unknown key 'nothing.at.all'")));
}

TEST(Config, UnknownKeysFindTheirHome) {
  auto hint = [](const std::string& yaml) { return problems(yaml).at(0); };
  EXPECT_THAT(hint("train: {learning_rate: 1}"), HasSubstr("Did you mean 'optimizer.learning_rate'?"));
  EXPECT_THAT(hint("seed: 1"), HasSubstr("Did you mean 'train.seed'?"));
  EXPECT_THAT(hint("optimizer: {unet_lr: 1}"), HasSubstr("Did you mean 'optimizer.transformer_lr'?"));
  EXPECT_THAT(hint("train: {learning_rate_te2: 1}"), HasSubstr("Did you mean 'optimizer.text_encoder_2_lr'?"));
  EXPECT_THAT(hint("trian: {sead: 1}"), HasSubstr("Did you mean 'train'?"));
  EXPECT_THAT(hint("optimizer: {learning_rte: 1}"), HasSubstr("Did you mean 'optimizer.learning_rate'?"));
  EXPECT_THAT(hint("train.seed: 1"), HasSubstr("write train: {seed: …}"));
}

TEST(Config, TypesAndRanges) {
  auto first = [](const std::string& yaml) {
    auto all = problems(yaml);
    return all.empty() ? "accepted" : all[0];
  };
  EXPECT_THAT(first("train: {train_batch_size: 0}"),
              HasSubstr("is too small. Expected a whole number from 1 to 65536, e.g. 4"));
  EXPECT_THAT(first("train: {train_batch_size: 010}"), HasSubstr("octal to others; write 10"));
  EXPECT_THAT(first("train: {train_batch_size: '4'}"), "accepted");  // the knob's type decides
  EXPECT_THAT(first("train: {train_batch_size: 99999999999999999999}"), HasSubstr("is too large"));
  EXPECT_THAT(first("train: {train_batch_size: 4.0}"), HasSubstr("not an integer"));
  EXPECT_THAT(first("train: {train_batch_size: 0x10}"), HasSubstr("not an integer"));
  EXPECT_THAT(first("train: {train_batch_size: null}"), HasSubstr("may not be null"));
  EXPECT_THAT(first("train: {train_batch_size: [1]}"), HasSubstr("may not be a list"));
  EXPECT_THAT(first("optimizer: {learning_rate: .inf}"), HasSubstr("not a number"));
  EXPECT_THAT(first("optimizer: {learning_rate: 1e999}"), HasSubstr("not a number"));
  EXPECT_THAT(first("optimizer: {adam_beta1: 1}"), HasSubstr("is too large"));
  EXPECT_THAT(first("optimizer: {learning_rate: null}"), "accepted");
  EXPECT_THAT(first("optimizer: {name: lion, lion_beta2: 0.5}"), "accepted");
  EXPECT_THAT(first("optimizer: {lion_beta2: 0.5}"), HasSubstr("a.yaml:1:25: optimizer.lion_beta2 is an option of lion. optimizer.name is adamw."));
  EXPECT_THAT(first("optimizer: {adam_epsilon: 0}"),
              HasSubstr("is too small. Expected a number above 0 and at most 1"));
  EXPECT_THAT(first("data: {random_flip: maybe}"), HasSubstr("neither true nor false"));
  EXPECT_THAT(first("train: {mixed_precision: bf15}"), HasSubstr("is not known; did you mean bf16?"));
  EXPECT_THAT(first("data: {columns: [a]}"), HasSubstr("may not be a list. Expected a map of names"));
  EXPECT_THAT(first("data: {columns: {a: [b]}}"), HasSubstr("has a list for a"));
  EXPECT_THAT(first("report_to: [tensorbord]"), HasSubstr("did you mean tensorboard?"));
  EXPECT_THAT(first("train: 5"), HasSubstr("train = 5 is not a map"));
  EXPECT_THAT(first("task: [a]"), HasSubstr("task may not be a list. Expected a name"));
  EXPECT_THAT(first("loss: {name: a, gamma: 08}"), HasSubstr("write 8"));
  EXPECT_THAT(first("validation: {prompts: [a, b, c], images: [a, b]}"), HasSubstr("validation.images has 2 entries"));
  EXPECT_THAT(first("just words"), HasSubstr("the file holds just words instead of keys"));
  EXPECT_THAT(first("lora: null"), "accepted");
  EXPECT_THAT(first("lora: {rank: 4, targets: attention, formats: kohya}"), "accepted");
  EXPECT_THAT(first("lora: {rank: 0}"), HasSubstr("lora.rank = 0 is too small. Expected a whole number from 1 to 65536, or null, e.g. 16"));
  EXPECT_THAT(first("lora: {rank: null, alpha: 16}"), "accepted");  // as config.yaml is written
  EXPECT_THAT(first("lora: {alpha: 8}"), HasSubstr("lora.alpha is set and lora.rank is not"));
  EXPECT_THAT(first("lora: {rank: 4}\ntrain: {parameters: [attention]}"), HasSubstr("a.yaml:2:21: train.parameters and lora.rank exclude each other"));
  EXPECT_THAT(first("lora: {rank: 4, targets: []}"), HasSubstr("a.yaml:1:26: lora.targets is empty"));
  EXPECT_THAT(first("lora: {rank: 4, formats: [comfy]}"), HasSubstr("which is not known"));
}

TEST(Config, WrittenTextReadsBackTheSame) {
  Config c = load(
      "task: {name: mine, rate: 1.0e-7, text: 'no', list: [1, 2.5, null, {deep: \"a\\tb: #c\"}], '8': true}\n"
      "loss: {gamma: 5}\n"
      "data: {columns: {'a b': 'yes', c: '', 'null': x}, path: \"with 'quotes' and \\u00fcml\\u00e4ute\"}\n"
      "validation: {prompts: ['- dash', 'true', '1e3', '', '  pad ', '# x', 'back\\slash', \"new\\nline\", '{a}', '雪 "
      "\U0001F600']}\n"
      "train: {max_train_steps: 7, parameters: ['*.attn*.weight'], ema_decay: 0.99995}\n"
      "optimizer: {learning_rate: 3.3333333333333335e-05}\n");
  std::string text = write_config(c);
  Config again = load_config_text(text, "config.yaml", {});
  EXPECT_EQ(to_json(again), to_json(c)) << text;
  EXPECT_EQ(again.task.options, c.task.options);
  EXPECT_EQ(write_config(again), text);
  EXPECT_EQ(config_hash(again), config_hash(c));
  for (const Knob& knob : knobs()) EXPECT_THAT(text, HasSubstr("# " + knob.doc));
}

TEST(Config, HashSeesValuesNotOrder) {
  Config a = load("train: {seed: 1, use_ema: true}\nloss: {name: x, a: 1, b: 2}\n");
  Config b = load("loss: {b: 2.0, a: 1, name: x}\ntrain:\n  use_ema: yes\n  seed: 1\n");
  EXPECT_EQ(config_hash(a), config_hash(b));
  EXPECT_EQ(config_hash(a).size(), 32u);
  EXPECT_NE(config_hash(a), config_hash(load("train: {seed: 2, use_ema: true}\nloss: {name: x, a: 1, b: 2}\n")));
  EXPECT_NE(config_hash(a), config_hash(load("train: {seed: 1, use_ema: true}\nloss: {name: x, a: 1, b: 3}\n")));
}

TEST(Config, DifferencesThatMayAndMayNotBe) {
  Config a = load("loss: {name: x, gamma: 5}\ntrain: {max_train_steps: 10}\n");
  Config b =
      load("loss: {name: x, gamma: 6, extra: 1}\ntrain: {max_train_steps: 20, seed: 3}\ncheckpoint: {keep: 9}\n");
  ConfigDiff diff = diff_configs(a, b);
  auto shown = [](const std::vector<ConfigChange>& changes) {
    std::vector<std::string> out;
    for (const ConfigChange& c : changes) out.push_back(c.key + " " + c.before + " " + c.after);
    return out;
  };
  EXPECT_THAT(shown(diff.safe), ElementsAre("checkpoint.keep 3 9", "train.max_train_steps 10 20"));
  EXPECT_THAT(shown(diff.unsafe), ElementsAre("loss.extra (not set) 1", "loss.gamma 5 6", "train.seed 42 3"));
}

TEST(Config, MissingPartsAreNamedTogether) {
  EXPECT_EQ(missing_for_run(Config()).size(), 3u);
  EXPECT_TRUE(missing_for_run(load("model: {path: a}\ndata: {path: b}\noutput: c\n")).empty());
}

TEST(Config, EveryKnobIsDescribedAndItsDefaultIsInRange) {
  for (const Knob& knob : knobs()) {
    EXPECT_GT(knob.doc.size(), 8u) << knob.key;
    EXPECT_EQ(knob.doc.back(), '.') << knob.key;
    if (knob.type == KnobType::component) continue;
    std::string text = section_of(knob.key).empty()
                           ? knob.key + ": " + knob_default(knob)
                           : section_of(knob.key) + ": {" + leaf_of(knob.key) + ": " + knob_default(knob) + "}";
    EXPECT_THAT(problems(text), testing::IsEmpty()) << text;
  }
}

TEST(Config, SchemaDescribesEveryKnob) {
  nlohmann::ordered_json schema = json_schema();
  for (const Knob& knob : knobs()) {
    std::string section = section_of(knob.key);
    const auto& in = section.empty() ? schema["properties"] : schema["properties"][section]["properties"];
    ASSERT_TRUE(in.contains(leaf_of(knob.key))) << knob.key;
    EXPECT_EQ(in[leaf_of(knob.key)]["description"], knob.doc);
  }
}

TEST(Config, SettingNeedsAnEqualsSign) {
  EXPECT_FALSE(parse_setting("train.seed"));
  EXPECT_FALSE(parse_setting("=5"));
  EXPECT_EQ(parse_setting("a.b=c=d")->value, "c=d");
}

// Whatever the bytes are: either a Failure, or a Config whose written form reads back the same.
TEST(Config, MutatedTextIsRefusedOrSurvivesTheRoundTrip) {
  const std::string seed_text =
      "task: {name: mine, rate: 0.05, list: [1, 2.5, 'x']}\nloss: &l mine\ntrain:\n  seed: 7 # words\n  use_ema: yes\n"
      "  max_grad_norm: 1e-1\ndata: {columns: {a: \"b\\n\"}, path: \"p q\"}\nvalidation:\n  prompts:\n    - |\n      "
      "two\n"
      "      lines\n    - *l\n  sampler: null\noutput: out\n";
  const std::string pieces[] = {
      "\t",     "\n",   "  ",   "'",   "\"", "[", "]", "{", "}",     ": ", "- ", "&a ", "*l",
      "!!str ", "\xff", "null", "1e5", "|",  ">", "#", "%", "---\n", "? ", "~",  "\\x", std::string(1, '\0')};
  std::mt19937 random(5);
  auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
  int accepted = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text = seed_text;
    for (size_t edits = 1 + below(4); edits > 0 && !text.empty(); --edits) {
      size_t at = below(text.size());
      switch (below(4)) {
        case 0:
          text.insert(at, pieces[below(std::size(pieces))]);
          break;
        case 1:
          text.erase(at, 1 + below(5));
          break;
        case 2:
          text[at] = static_cast<char>(random());
          break;
        default:
          text.insert(at, text.substr(below(text.size()), below(30)));
          break;
      }
    }
    try {
      Config config = load(text);
      ++accepted;
      std::string written = write_config(config);
      Config again = load_config_text(written, "config.yaml", {});
      ASSERT_EQ(to_json(again), to_json(config)) << text << "\n" << written;
      ASSERT_EQ(again.task.options, config.task.options) << text << "\n" << written;
    } catch (const Failure& failure) {
      ASSERT_FALSE(failure.errors.empty());
      for (const Error& error : failure.errors)
        ASSERT_EQ(error.where.rfind("a.yaml:", 0), 0u) << to_string(error) << "\n" << text;
    }
  }
  EXPECT_GT(accepted, 100);
}
