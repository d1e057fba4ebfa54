#include "core/base/json.h"

#include <gtest/gtest.h>

#include <random>

using namespace t2i;

namespace {
std::string error_of(std::string_view text, JsonRules rules = {}) {
  Result<Json> r = parse_json(text, "f.json", rules);
  return r ? "accepted" : to_string(r.error());
}
}  // namespace

TEST(Json, ReadsWhatJsonIs) {
  Json v = parse_json(R"({"a": [1, -2, 3.5, true, null, "x\u00e9\n"], "b": {}, "c": []})", "f").take();
  EXPECT_EQ(v["a"][0], 1);
  EXPECT_EQ(v["a"][5], "x\xc3\xa9\n");
  EXPECT_EQ(v["b"], Json::object());
  EXPECT_EQ(v["c"], Json::array());
  EXPECT_EQ(parse_json("7", "f").take(), 7);
}

TEST(Json, AgreesWithTheLibrarysOwnParserOnRandomValues) {
  std::mt19937 random(1);
  std::function<Json(int)> make = [&](int depth) -> Json {
    switch (random() % (depth > 4 ? 5 : 7)) {
      case 0:
        return nullptr;
      case 1:
        return random() % 2 == 0;
      case 2:
        return static_cast<int64_t>(random()) - (1ll << 31);
      case 3:
        return static_cast<double>(random()) / 7.0;
      case 4:
        return std::string(random() % 9, static_cast<char>('a' + random() % 26)) + "\"\\\n\xc3\xa4";
      case 5: {
        Json a = Json::array();
        for (unsigned i = random() % 5; i; --i) a.push_back(make(depth + 1));
        return a;
      }
      default: {
        Json o = Json::object();
        for (unsigned i = random() % 5; i; --i) o["k" + std::to_string(random() % 100)] = make(depth + 1);
        return o;
      }
    }
  };
  for (int i = 0; i < 500; ++i) {
    Json v = make(0);
    EXPECT_EQ(parse_json(v.dump(i % 3 - 1), "f").take(), v);
  }
}

TEST(Json, AKeyTwiceIsRefusedWithItsPlace) {
  EXPECT_EQ(error_of("{\n  \"a\": 1,\n  \"b\": {\"a\": 2},\n  \"a\": 3}"),
            "f.json:4:3: the key 'a' comes twice in one object. → remove one of the two  [T2I-E2010]");
  EXPECT_EQ(error_of(R"({"x\"y":1, "x\"y":2})").substr(0, 12), "f.json:1:12:");
  EXPECT_EQ(error_of(R"([{"a":1},{"a":2}])"), "accepted");
}

TEST(Json, SaysLineAndColumn) {
  EXPECT_EQ(error_of("{\"a\": 1,\n \"b\" 2}").substr(0, 11), "f.json:2:6:");
  EXPECT_EQ(error_of("{\"a\": 1} x").substr(0, 12), "f.json:1:10:");
  EXPECT_EQ(error_of("{\"a\": tru}").substr(0, 9), "f.json:1:");
  JsonRules row;
  row.first_line = 118;
  row.id = "E2010";
  EXPECT_EQ(error_of("{'a': 1}", row).substr(0, 13), "f.json:118:2:");
}

TEST(Json, PythonIsRecognised) {
  EXPECT_NE(error_of("{'a': 1}").find("Python dict"), std::string::npos);
  EXPECT_NE(error_of("{\"a\": True}").find("Python dict"), std::string::npos);
  EXPECT_NE(error_of("{\"a\": NaN}").find("no NaN"), std::string::npos);
  EXPECT_NE(error_of("{\"a\": [1, 2").find("cut short"), std::string::npos);
}

TEST(Json, RefusesWhatIsNotJson) {
  for (const char* bad : {"",        " ",     "{",        "[1,]",     "{\"a\":1,}",  "01",        "1.",    ".5",
                          "+1",      "nul",   "\"\x01\"", "\"\xff\"", "\"\\ud800\"", "\"\\x41\"", "1e999", "[1] []",
                          "{\"a\"}", "{1:2}", "// c\n1",  "\"a",      "-",           "\xff\xfe"})
    EXPECT_NE(error_of(bad), "accepted") << bad;
}

TEST(Json, DepthAndSizeAreBounded) {
  EXPECT_EQ(error_of(std::string(64, '[') + std::string(64, ']')), "accepted");
  EXPECT_NE(error_of(std::string(65, '[') + std::string(65, ']')).find("more than 64"), std::string::npos);
  EXPECT_NE(error_of(std::string(2'000'000, '[')).find("more than 64"), std::string::npos);
  JsonRules small;
  small.max_bytes = 10;
  EXPECT_NE(error_of("[1,2,3,4,5,6]", small).find("larger than"), std::string::npos);
}

TEST(Json, TenThousandMutationsNeverCrash) {
  const std::string good = R"({"dtype":"F32","shape":[1,2,{"x":[true,null,-1.5e3]}],"t":"a\u00e9\"b"})";
  std::mt19937 random(7);
  int accepted = 0;
  for (int i = 0; i < 10000; ++i) {
    std::string text = good;
    for (unsigned n = 1 + random() % 4; n; --n) {
      size_t at = random() % text.size();
      switch (random() % 3) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text.erase(at, 1 + random() % 5);
          break;
        default:
          text.insert(at, text.substr(random() % text.size(), 6));
      }
      if (text.empty()) text = " ";
    }
    Result<Json> r = parse_json(text, "f");
    accepted += static_cast<bool>(r);
    EXPECT_TRUE(r ? Json::accept(text) : !r.error().what.empty());  // never more lenient than the library's own parser
  }
  EXPECT_GT(accepted, 50);
}

TEST(Json, InfinitiesAsPythonWritesThemSurviveReadingAndWriting) {
  // json.dumps({"a": -math.inf, "b": [math.inf, math.nan], "c": 'say "Infinity": \\', "d": 1e-05}, indent=2)
  std::string text =
      "{\n  \"a\": -Infinity,\n  \"b\": [\n    Infinity,\n    NaN\n  ],\n  \"c\": \"say \\\"Infinity\\\": \\\\\",\n"
      "  \"d\": 1e-05\n}\n";
  EXPECT_NE(error_of(text).find("JSON has no NaN or Infinity"), std::string::npos);
  JsonRules rules;
  rules.python_numbers = true;
  Json read = parse_json(text, "f.json", rules).take();
  EXPECT_EQ(read["a"], "-Infinity");
  EXPECT_EQ(read["b"], Json({"Infinity", "NaN"}));
  EXPECT_EQ(read["c"], "say \"Infinity\": \\");
  read.erase("b");
  EXPECT_EQ(python_json(read),
            "{\n  \"a\": -Infinity,\n  \"c\": \"say \\\"Infinity\\\": \\\\\",\n  \"d\": 1e-05\n}\n");
  EXPECT_NE(error_of("{\"a\": Infinit}", rules).find("not valid JSON"), std::string::npos);
}
