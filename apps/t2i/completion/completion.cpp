#include <cstdio>

#include <algorithm>

#include "apps/t2i/completion/complete.h"

namespace t2i {

int completion_command(const Command& self, const std::vector<std::string>& arguments) {
  const Texts shells = {"bash", "zsh", "fish"};
  Options options(self);
  options.positional("shell", 1, shells);
  const char* how =
      "\nbash  echo 'source <(t2i completion bash)' >> ~/.bashrc\n"
      "zsh   echo 'source <(t2i completion zsh)' >> ~/.zshrc       (behind compinit)\n"
      "fish  t2i completion fish > ~/.config/fish/completions/t2i.fish\n";
  if (!options.parse(arguments, how)) return 0;
  const Texts given = options.texts("shell");
  if (given.empty() || !std::ranges::count(shells, given[0]))
    options.problem("t2i completion", given.empty() ? "SHELL is missing" : "'" + given[0] + "' is no shell that t2i knows", "bash, zsh or fish", "E1023");
  options.finish();
  std::fputs(completion_script(given[0]), stdout);
  return 0;
}

int complete_words(const std::vector<std::string>& typed) {
  std::fputs(to_text(complete(typed)).c_str(), stdout);
  return 0;
}

}  // namespace t2i
