#include "core/report/page.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/report/base64.h"
#include "core/report/compare_pictures.h"
#include "core/report/pictures.h"

namespace t2i {
namespace {

TEST(Page, TextCannotLeaveItsPlace) {
  EXPECT_EQ(escape_html("<b class=\"x\">&'"), "&lt;b class=&quot;x&quot;&gt;&amp;&#39;");
  const std::string nasty = "</script><!--\xe2\x80\xa8\xe2\x80\xa9 \xc3\xa4 \xff";
  const std::string text = script_json(Json{{"prompt", nasty}});
  for (const char* part : {"<", ">", "&", "\xe2\x80\xa8", "\xe2\x80\xa9"}) EXPECT_EQ(text.find(part), text.npos) << part;
  EXPECT_EQ(Json::parse(text)["prompt"], nasty.substr(0, nasty.size() - 1) + "\xef\xbf\xbd");
}

TEST(Page, EveryPartIsEmbedded) {
  for (const char* name : {"page.css", "common.js", "chart.js", "wipe.js", "report.html", "report.js", "compare.html", "compare.js"}) {
    EXPECT_FALSE(page_file(name).empty()) << name;
    EXPECT_EQ(page_file(name).find("</script"), std::string_view::npos) << name;
    EXPECT_EQ(page_file(name).find("http:"), page_file(name).find("http://www.w3.org/2000/svg")) << name;
    EXPECT_EQ(page_file(name).find("https:"), std::string_view::npos) << name;
  }
  EXPECT_TRUE(page_file("nothing").empty());
}

TEST(Page, Base64AsRfc4648) {
  const char* pairs[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}};
  for (auto& [plain, coded] : pairs) EXPECT_EQ(base64(as_bytes(plain)), coded);
  const std::string long_text(7 << 20, 'a');  // more than one block
  const std::string coded = base64(as_bytes(long_text));
  EXPECT_EQ(coded.size(), (long_text.size() + 2) / 3 * 4);
  EXPECT_EQ(coded.substr(0, 8), "YWFhYWFh");
  EXPECT_EQ(coded.find('='), coded.size() - 2);  // 7 MiB is one more than a multiple of three
  EXPECT_EQ(sha256_base64(as_bytes("")), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");  // of nothing, as browsers print it
}

TEST(Page, SpreadKeepsTheEnds) {
  EXPECT_EQ(spread({0, 5, 10}, 3), (std::vector<int64_t>{0, 5, 10}));
  std::vector<int64_t> all;
  for (int64_t i = 0; i <= 100; ++i) all.push_back(i * 500);
  const std::vector<int64_t> few = spread(all, 11);
  ASSERT_EQ(few.size(), 11u);
  for (size_t i = 0; i < few.size(); ++i) EXPECT_EQ(few[i], static_cast<int64_t>(i) * 5000);
  EXPECT_EQ(spread(all, 0), (std::vector<int64_t>{0, 50000}));
}

TEST(Page, DifferenceOfPictures) {
  Image a, b;
  a.width = b.width = 2, a.height = b.height = 1;
  a.rgb = {0, 0, 0, 255, 255, 255}, b.rgb = {0, 0, 6, 255, 255, 253};
  const Difference d = difference(a, b);
  EXPECT_DOUBLE_EQ(d.mean, 8.0 / 6);
  EXPECT_EQ(d.most, 6);
  EXPECT_DOUBLE_EQ(d.psnr, 10 * std::log10(65025 / (40.0 / 6)));
  EXPECT_TRUE(std::isinf(difference(a, a).psnr));
}

}  // namespace
}  // namespace t2i
