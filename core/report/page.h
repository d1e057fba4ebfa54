// One HTML file with everything in it: text, style, script and data. It loads nothing, sends nothing, and its content
// security policy forbids both: only the two pieces of the program's own, named by their hashes, are carried out.
#pragma once
#include <string>
#include <vector>

#include "core/base/file.h"
#include "core/base/json.h"

namespace t2i {

// A text of core/report/page/, embedded when the program was built; empty where there is no such file.
std::string_view page_file(std::string_view name);

// `body` is one of the embedded .html files, `scripts` are .js files in the order in which they run; they find `data`
// in the element with the id "data".
std::string make_page(const std::string& body, const std::vector<std::string>& scripts, const std::string& title, const Json& data);

// For text of HTML and values of attributes.
std::string escape_html(const std::string& text);
// JSON that may stand in a <script>: no '<', '>' or '&', and no separator that old parsers take for the end of a line.
std::string script_json(const Json& value);

// Is the file a page that this program wrote? Not for what is not there.
bool is_own_page(const Path& path);

// E8005 (73): something else has that name already and would be lost.
void require_own_page(const Path& path);

}  // namespace t2i
