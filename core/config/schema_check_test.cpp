#include "core/config/schema_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace t2i;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {
const json schema = json::parse(R"({
  "gamma": {"type": "number", "default": 5, "exclusiveMinimum": 0, "maximum": 100, "description": "How much."},
  "kind": {"type": "string", "default": "soft", "enum": ["soft", "hard"], "description": "Which."},
  "steps": {"type": "integer", "default": null, "minimum": 1},
  "flip": {"type": "boolean", "default": false},
  "path": {"type": "string", "description": "Where it is."}
})");

std::vector<std::string> problems(const json& options, std::map<std::string, std::string> positions = {}) {
  std::vector<std::string> out;
  for (const Error& error : check_options(options, schema, "loss", "loss 'mine'", positions).errors)
    out.push_back(to_string(error));
  return out;
}
}  // namespace

TEST(SchemaCheck, FillsDefaults) {
  OptionsCheck checked =
      check_options({{"path", "x"}, {"flip", "yes"}, {"steps", 3.0}}, schema, "loss", "loss 'mine'", {});
  EXPECT_TRUE(checked.errors.empty());
  EXPECT_EQ(checked.options, json::parse(R"({"gamma": 5, "kind": "soft", "steps": 3, "flip": true, "path": "x"})"));
  EXPECT_TRUE(checked.options["steps"].is_number_integer());
}

TEST(SchemaCheck, AllProblemsWithPositions) {
  EXPECT_THAT(
      problems({{"gama", 1}, {"gamma", 0}, {"kind", "sof"}, {"steps", 1.5}, {"flip", "perhaps"}},
               {{"loss", "a.yaml:1:1"}, {"loss.gamma", "a.yaml:3:5"}}),
      ElementsAre(
          "a.yaml:1:1: loss 'mine' has no option 'gama'. Did you mean 'gamma'?  [T2I-E1014]",
          "a.yaml:1:1: loss.flip = \"perhaps\" is neither true nor false. Expected true or false, e.g. false.  "
          "[T2I-E1015]",
          "a.yaml:3:5: loss.gamma = 0 is too small. Expected a number above 0 up to 100, e.g. 5.  [T2I-E1015]",
          "a.yaml:1:1: loss.kind = \"sof\" is not known. Expected one of soft, hard, e.g. soft.  [T2I-E1015]",
          "a.yaml:1:1: loss 'mine' needs the option 'path'. Where it is. → set loss.path: a text  [T2I-E1016]",
          "a.yaml:1:1: loss.steps = 1.5 is not an integer. Expected a whole number of at least 1.  [T2I-E1015]"));
}

TEST(SchemaCheck, NullOnlyWhereItIsTheDefault) {
  EXPECT_TRUE(problems({{"path", "x"}, {"steps", nullptr}}).empty());
  EXPECT_THAT(problems({{"path", "x"}, {"gamma", nullptr}}), ElementsAre(HasSubstr("may not be null")));
}

TEST(SchemaCheck, SchemasThemselves) {
  EXPECT_TRUE(schema_problems(schema).empty());
  auto wrong = [](const char* text) { return schema_problems(json::parse(text)); };
  EXPECT_THAT(wrong("[]"), ElementsAre(HasSubstr("not a JSON object")));
  EXPECT_THAT(wrong(R"({"a": {"type": "float"}})"), ElementsAre(HasSubstr("'a' needs a type")));
  EXPECT_THAT(wrong(R"({"a": {"type": "number", "default": "x"}})"),
              ElementsAre(HasSubstr("the default \"x\" of 'a' is not a number")));
  EXPECT_THAT(wrong(R"({"a": {"type": "number", "minimun": 1}})"), ElementsAre(HasSubstr("'minimun'")));
  EXPECT_THAT(wrong(R"({"name": {"type": "number"}})"), ElementsAre(HasSubstr("cannot be an option's name")));
  EXPECT_THAT(wrong(R"({"a": 5})"), ElementsAre(HasSubstr("not an object")));
  EXPECT_EQ(check_options({}, json::parse(R"({"a": 5})"), "loss", "loss 'mine'", {}).errors.at(0).id, "E1012");
}
