// What other programs say passes through here before it is shown or kept: tokens never do.
#pragma once
#include <string>
#include <vector>

namespace t2i {

// The values of environment variables whose names say that they are secret (…TOKEN, …KEY, …SECRET, …PASSWORD, …CREDENTIALS),
// the longest first; short ones are no secrets.
std::vector<std::string> secrets_of_environment();

// `text` with each of `secrets`, and whatever looks like a token of the known services, replaced by ***.
std::string without_secrets(std::string text, const std::vector<std::string>& secrets);
inline std::string without_secrets(std::string text) { return without_secrets(std::move(text), secrets_of_environment()); }

}  // namespace t2i
