#include "core/publish/secrets.h"

#include <unistd.h>

#include <algorithm>
#include <regex>
#include <string_view>

namespace t2i {

std::vector<std::string> secrets_of_environment() {
  std::vector<std::string> out;
  for (char** at = environ; at && *at; ++at) {
    const std::string_view entry = *at;
    const size_t equals = entry.find('=');
    if (equals == entry.npos || entry.size() - equals - 1 < 8) continue;
    const std::string_view name = entry.substr(0, equals);
    for (const char* end : {"TOKEN", "KEY", "SECRET", "PASSWORD", "PASSWD", "CREDENTIALS"})
      if (name.ends_with(end)) out.emplace_back(entry.substr(equals + 1));
  }
  std::sort(out.begin(), out.end(), [](const std::string& a, const std::string& b) { return a.size() > b.size(); });
  return out;
}

std::string without_secrets(std::string text, const std::vector<std::string>& secrets) {
  for (const std::string& secret : secrets)
    for (size_t at = 0; (at = text.find(secret, at)) != text.npos; at += 3) text.replace(at, secret.size(), "***");
  static const std::regex known(
      "hf_[A-Za-z0-9]{16,}|(token|access_token|api_key|apikey)=[^&\\s\"']+|([Bb]earer|[Bb]asic) +[A-Za-z0-9._~+/=-]{8,}|"
      "://[^/@\\s:]+:[^/@\\s]+@");
  std::string out;
  auto last = text.cbegin();
  for (std::sregex_iterator at(text.begin(), text.end(), known), end; at != end; ++at) {
    const std::string found = at->str();
    out.append(last, (*at)[0].first);
    const size_t equals = found.find('='), space = found.find(' ');
    if (found.starts_with("hf_")) out += "***";
    else if (found.starts_with("://")) out += "://***@";
    else if (space != found.npos) out += found.substr(0, space) + " ***";  // Bearer …
    else out += found.substr(0, equals + 1) + "***";
    last = (*at)[0].second;
  }
  return out.append(last, text.cend());
}

}  // namespace t2i
