#include "core/config/yaml_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace t2i;
using testing::HasSubstr;

namespace {
std::string first(const std::string& text) {
  YamlText parsed = parse_yaml(text, "a.yaml");
  return parsed.errors.empty() ? "accepted" : to_string(parsed.errors[0]);
}
}  // namespace

TEST(YamlTree, RemembersPositionsAndQuotes) {
  YamlNode root = parse_yaml("a: 1\nb:\n  - 'two'\n  - {c: null}\n", "a.yaml").root;
  ASSERT_EQ(root.entries.size(), 2u);
  EXPECT_EQ(root.entries[1].line, 2);
  const YamlNode& list = root.entries[1].value;
  EXPECT_TRUE(list.items[0].quoted);
  EXPECT_EQ(list.items[0].line, 3);
  EXPECT_EQ(list.items[0].column, 5);
  EXPECT_EQ(list.items[1].entries[0].value.kind, YamlNode::null);
}

TEST(YamlTree, EmptyTextIsNull) {
  EXPECT_EQ(parse_yaml("", "a.yaml").root.kind, YamlNode::null);
  EXPECT_EQ(parse_yaml("# only words\n", "a.yaml").root.kind, YamlNode::null);
  EXPECT_EQ(parse_yaml("\xEF\xBB\xBF"
                       "a: 1\n",
                       "a.yaml")
                .root.entries.at(0)
                .key,
            "a");  // a byte order mark
}

TEST(YamlTree, DuplicatesAtAnyDepth) {
  EXPECT_EQ(
      first("a:\n  b: 1\n  c: 2\n  b: \"3\"\n"),
      "a.yaml:4:3: 'a.b' is already set at line 2. → remove one of them (line 2 has 1, line 4 has \"3\")  [T2I-E1002]");
  EXPECT_EQ(parse_yaml("a: 1\na: 2\na: 3\n", "a.yaml").errors.size(), 2u);
}

TEST(YamlTree, BytesAndTabs) {
  EXPECT_THAT(first("a: \xff\n"), HasSubstr("a.yaml:1:4: byte 0xFF (offset 3) is not UTF-8"));
  EXPECT_THAT(first("a: \xed\xa0\x80\n"), HasSubstr("not UTF-8"));  // a surrogate
  EXPECT_THAT(first("a: \xc0\xaf\n"), HasSubstr("not UTF-8"));      // overlong
  EXPECT_THAT(first(std::string("a: \0b\n", 6)), HasSubstr("control character 0x00"));
  EXPECT_THAT(first("a:\n\tb: 1\n  \tc: 2\n"), HasSubstr("a.yaml:2:1: tab used for indentation (in 2 lines)"));
  EXPECT_THAT(first("a: 1\n \t\nb: 2\n"), HasSubstr("a.yaml:2:2: tab"));  // yaml-cpp refuses these in empty lines too
  EXPECT_EQ(first("a:\t1 \t# words\nb: 'a\tb'\n"), "accepted");
}

TEST(YamlTree, WhatYamlCannotBe) {
  EXPECT_THAT(first("a: b: c\n"), HasSubstr("E1006"));
  EXPECT_THAT(first("a: [1, 2\n"), HasSubstr("E1006"));
  EXPECT_THAT(first("a: 1\n---\nb: 2\n"), HasSubstr("second YAML document"));
  EXPECT_THAT(first("a: !!python/object:os.system x\n"), HasSubstr("is not supported"));
  EXPECT_THAT(first("? [a]\n: b\n"), HasSubstr("E1006"));
  EXPECT_THAT(first("a: *nowhere\n"), HasSubstr("E1006"));
}

TEST(YamlTree, AliasesAreCopiedWithinReason) {
  YamlNode root = parse_yaml("a: &x {c: 1}\nb: *x\n", "a.yaml").root;
  EXPECT_EQ(root.entries[1].value.entries[0].key, "c");
  EXPECT_EQ(root.entries[1].value.line, 2);
  EXPECT_THAT(first("a: &x [*x]\n"), HasSubstr("E1013"));
  std::string bomb = "l0: &l0 [a, a, a, a, a, a, a, a, a]\n";
  for (int i = 1; i < 10; ++i) {
    std::string line = "l" + std::to_string(i) + ": &l" + std::to_string(i) + " [";
    for (int k = 0; k < 9; ++k) line += (k ? ", *l" : "*l") + std::to_string(i - 1);
    bomb += line + "]\n";
  }
  EXPECT_THAT(first(bomb), HasSubstr("more than 100000 values"));
}

TEST(YamlTree, DepthAndSizeAreLimited) {
  EXPECT_EQ(first("a: " + std::string(18, '[') + std::string(18, ']')), "accepted");
  EXPECT_THAT(first("a: " + std::string(30, '[') + std::string(30, ']')), HasSubstr("nested deeper than 20"));
  EXPECT_THAT(first("a: " + std::string(200000, '[')), HasSubstr("T2I-E10"));  // an error of some kind, not a crash
  std::string many = "a: [";
  for (int i = 0; i < 100001; ++i) many += "1,";
  EXPECT_THAT(first(many + "1]\n"), HasSubstr("more than 100000 values"));
}
