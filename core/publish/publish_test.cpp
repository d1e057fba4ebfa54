#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>

#include "core/publish/child.h"
#include "core/publish/hub.h"
#include "core/publish/model_card.h"
#include "core/publish/secrets.h"

namespace t2i {
namespace {

TEST(Secrets, NothingThatLooksLikeOnePasses) {
  const std::vector<std::string> known = {"a-long-canary-value"};
  EXPECT_EQ(without_secrets("x a-long-canary-value y a-long-canary-value", known), "x *** y ***");
  EXPECT_EQ(without_secrets("token hf_AbCdEfGhIjKlMnOpQrSt was refused", {}), "token *** was refused");
  EXPECT_EQ(without_secrets("GET https://h/x?token=abc&b=1", {}), "GET https://h/x?token=***&b=1");
  EXPECT_EQ(without_secrets("Authorization: Bearer abcdefgh1234", {}), "Authorization: Bearer ***");
  EXPECT_EQ(without_secrets("git https://me:pass@host/x", {}), "git https://***@host/x");
  EXPECT_EQ(without_secrets("nothing to hide: step 5, hf_short", {}), "nothing to hide: step 5, hf_short");
}

TEST(Secrets, TheEnvironmentTellsByName) {
  setenv("T2I_TEST_TOKEN", "canary-one", 1);
  setenv("T2I_TEST_API_KEY", "canary-two-longer", 1);
  setenv("T2I_TEST_PLACE", "not-a-secret", 1);
  setenv("T2I_TEST_SECRET", "short", 1);
  const std::string hidden = without_secrets("canary-one canary-two-longer not-a-secret short");
  EXPECT_EQ(hidden, "*** *** not-a-secret short");
  for (const char* name : {"T2I_TEST_TOKEN", "T2I_TEST_API_KEY", "T2I_TEST_PLACE", "T2I_TEST_SECRET"}) unsetenv(name);
}

TEST(Child, IsHeardAndItsEndIsKnown) {
  Child child({"sh", "-c", "read word; echo got $word; printf '10%%\\r20%%\\rdone\\n'; echo last >&2; exit 7"});
  child.say("hello\n");
  std::vector<std::string> heard;
  EXPECT_EQ(child.wait(20, heard), 7);
  EXPECT_EQ(heard, (std::vector<std::string>{"got hello", "done", "last"}));
  EXPECT_EQ(child.ended(), 7);
}

TEST(Child, ThatIsGoneTakesNothingWithIt) {
  Child child({"sh", "-c", "exit 0"});
  std::vector<std::string> heard;
  EXPECT_EQ(child.wait(20, heard), 0);
  for (int i = 0; i < 3; ++i) child.say("nobody reads this\n");  // would be SIGPIPE
}

TEST(Child, IsEndedWithItsOwner) {
  std::vector<std::string> heard;
  {
    Child child({"sh", "-c", "echo $$; trap '' INT; sleep 600"});
    EXPECT_EQ(child.wait(1, heard), std::nullopt);
    ASSERT_EQ(heard.size(), 1u);
  }
  EXPECT_NE(::kill(std::stoi(heard[0]), 0), 0);
}

TEST(Child, AMissingProgram) {
  EXPECT_TRUE(find_program("no-such-program-anywhere").empty());
  EXPECT_FALSE(find_program("sh").empty());
  try {
    Child child({"no-such-program-anywhere"});
    FAIL();
  } catch (const Failure& f) {
    EXPECT_EQ(f.errors[0].id, "E8015");
  }
}

TEST(ModelCard, TakesTheBaseModelsLicence) {
  License l = license_of_card("---\nlicense: openrail++\nlicense_name: 'my licence'\nlicense_link: LICENSE.md\ntags:\n- x\n---\n# Title\nlicense: no\n");
  EXPECT_EQ(l.id, "openrail++");
  EXPECT_EQ(l.name, "my licence");
  EXPECT_EQ(l.link, "LICENSE.md");
  EXPECT_TRUE(license_of_card("# no head\nlicense: mit\n").id.empty());
  EXPECT_TRUE(license_of_card("").id.empty());
}

TEST(ModelCard, PublishesNoFolders) {
  Config config = load_config_text("model: {path: /home/somebody/weights/base}\ndata: {path: /home/somebody/pictures/}\noutput: /home/somebody/runs/x\n"
                                   "validation: {prompts: [a cat], images: [/home/somebody/a.png]}\nhub: {repo: me/x}\ntask: text\n", "x.yaml", {});
  const CardFacts facts = card_facts(config, "/home/somebody/weights/base", 40, true);
  const std::string card = model_card(facts);
  EXPECT_EQ(card.find("somebody"), card.npos) << card;
  EXPECT_EQ(facts.base_model, "base");
  EXPECT_NE(card.find("data.path: pictures\n"), card.npos) << card;
  EXPECT_NE(card.find("validation.images: [a.png]\n"), card.npos) << card;
}

TEST(ModelCard, KnowsAModelOfTheHub) {
  Config config = load_config_text("model: {path: org/base}\nhub: {repo: me/x}\n", "x.yaml", {});
  EXPECT_EQ(card_facts(config, "/cache/models--org--base/snapshots/abc", 1, false).base_model, "org/base");
  config.model.path = "/cache/hub/models--some--thing-xl/snapshots/0123";
  const CardFacts facts = card_facts(config, config.model.path, 1, false);
  EXPECT_TRUE(facts.base_is_on_hub);
  EXPECT_EQ(facts.base_model, "some/thing-xl");
}

}  // namespace
}  // namespace t2i
