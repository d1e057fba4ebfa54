// The host that plugins see, and how the core calls them: guard() on the way out, check() on the way in.
#pragma once
#include <t2i/plugin.h>

#include <exception>
#include <stdexcept>
#include <string>

#include "core/base/error.h"

namespace t2i {

// The one host of this process, with every service of core/plug/services. Lives as long as the process. [any thread]
const t2i_host* host();

// This thread's last error text, set through host->fail() or by guard().
const std::string& last_error_text();
int32_t set_last_error(int32_t code, std::string text);
int32_t set_last_error(const std::exception& e);  // with the code that fits it, and without torch's C++ stack

// A plugin's callback failed inside of torch: its code and text, kept on the way out.
struct CallbackFailure : std::runtime_error {
  int32_t code;
  CallbackFailure(int32_t c, const std::string& text) : std::runtime_error(text), code(c) {}
};
void check_callback(int32_t code);  // throws one unless ok

// Did memory run out, of the host or of a device? torch says so in several ways.
bool is_out_of_memory(const std::exception& e);
// What an exception says to a person.
std::string text_of(const std::exception& e);

// A service of this core by id ("t2i.op/1"), nullptr when there is none.
const void* find_service(const std::string& id);

// Runs a service's body: exceptions become a code and a text that names what failed.
template <class F>
int32_t guard(F&& body) noexcept {
  try {
    body();
    return T2I_OK;
  } catch (const std::exception& e) {
    return set_last_error(e);
  } catch (...) {
    return set_last_error(T2I_E_INTERNAL, "unknown exception");
  }
}

// After a call into a plugin: a failure becomes a Failure that names `who` ("model sd-like: forward") and the text.
void check(int32_t code, const std::string& who);

}  // namespace t2i
