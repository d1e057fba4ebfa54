#include "core/report/page.h"

#include <fmt/format.h>

#include "core/base/version.h"
#include "core/report/base64.h"

namespace t2i {
namespace {

constexpr const char* generator = "<meta name=\"generator\" content=\"t2i ";

}  // namespace

std::string escape_html(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '<') out += "&lt;";
    else if (c == '>') out += "&gt;";
    else if (c == '&') out += "&amp;";
    else if (c == '"') out += "&quot;";
    else if (c == '\'') out += "&#39;";
    else out += c;
  }
  return out;
}

std::string script_json(const Json& value) {
  const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string out;
  out.reserve(text.size() + text.size() / 64);
  for (size_t i = 0; i < text.size(); ++i) {
    const std::string_view rest = std::string_view(text).substr(i, 3);
    if (rest[0] == '<') out += "\\u003c";
    else if (rest[0] == '>') out += "\\u003e";
    else if (rest[0] == '&') out += "\\u0026";
    else if (rest == "\xe2\x80\xa8") out += "\\u2028", i += 2;
    else if (rest == "\xe2\x80\xa9") out += "\\u2029", i += 2;
    else out += rest[0];
  }
  return out;
}

std::string make_page(const std::string& body, const std::vector<std::string>& scripts, const std::string& title, const Json& data) {
  std::string script;
  for (const std::string& name : scripts) script += page_file(name);
  const std::string style(page_file("page.css"));
  const std::string policy = fmt::format(
      "default-src 'none'; img-src data:; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
      sha256_base64(as_bytes(style)), sha256_base64(as_bytes(script)));
  std::string out = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n";
  out += fmt::format("{}{}\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n", generator, version, policy);
  out += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n";
  out += fmt::format("<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n", escape_html(title), style);
  out += page_file(body);
  out += "<script type=\"application/json\" id=\"data\">" + script_json(data) + "</script>\n";
  out += "<script>" + script + "</script>\n</body>\n</html>\n";
  return out;
}

bool is_own_page(const Path& path) {
  Result<std::shared_ptr<const MappedFile>> file = MappedFile::open(path);
  if (!file) return false;
  const Bytes bytes = (*file)->bytes();
  const std::string_view begin(reinterpret_cast<const char*>(bytes.data()), std::min<size_t>(bytes.size(), 400));
  return begin.find(generator) != begin.npos;
}

void require_own_page(const Path& path) {
  std::error_code none;
  if (std::filesystem::exists(std::filesystem::symlink_status(path, none)) && !is_own_page(path))
    fail({path.string(), "is there already and is no page of t2i", "", "move it away, or give another --output", "E8005", Exit::in_use});
}

}  // namespace t2i
