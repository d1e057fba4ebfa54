#include "core/plug/tag.h"

#include <algorithm>
#include <charconv>

#include "core/plug/elf.h"

namespace t2i {
namespace {

constexpr std::string_view magic = "T2I-PLUGIN ";
constexpr uint64_t max_tag_bytes = 4096;

Error bad(const std::string& where, const std::string& what) {
  return {where,   what,          "", "Build it with T2I_PLUGIN(...) and t2i_add_plugin() of this t2i's SDK.",
          "E2054", Exit::bad_data};
}

bool number(std::string_view text, uint32_t& out) {
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), out);
  return ec == std::errc() && end == text.data() + text.size();
}

// Ids and version tags are printable ASCII without spaces: they reach terminals and JSON.
bool word(std::string_view text) {
  return !text.empty() && text.size() <= 200 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

}  // namespace

Result<PluginTag> parse_plugin_tag(std::string_view text, const std::string& where) {
  text = text.substr(0, text.find('\0'));
  if (!text.starts_with(magic)) return bad(where, "its section .t2i_tag does not begin with 'T2I-PLUGIN '");
  PluginTag tag;
  bool has_abi = false;
  for (std::string_view rest = text.substr(magic.size()); !rest.empty();) {
    std::string_view item = rest.substr(0, rest.find(' '));
    rest.remove_prefix(std::min(rest.size(), item.size() + 1));
    if (item.starts_with("abi=")) {
      std::string_view v = item.substr(4);
      size_t dot = v.find('.');
      has_abi = dot != v.npos && number(v.substr(0, dot), tag.abi_major) && number(v.substr(dot + 1), tag.abi_minor);
      if (!has_abi) return bad(where, "its tag has no version in 'abi='");
    } else if (item.starts_with("torch=")) {
      tag.torch = item.substr(6);
    } else if (item.starts_with("id=")) {
      tag.id = item.substr(3);
    }
  }
  if (!has_abi) return bad(where, "its tag has no 'abi='");
  if (!word(tag.torch)) return bad(where, "its tag has no 'torch=' (any, or a version)");
  if (!word(tag.id)) return bad(where, "its tag has no 'id='");
  return tag;
}

Result<PluginTag> read_plugin_tag(const std::filesystem::path& file) {
  Result<ElfFile> elf = open_elf(file);
  if (!elf) return elf.error();
  const ElfSection* section = elf->find(".t2i_tag");
  if (!section) return bad(file.string(), "this library is no t2i plugin: it has no section .t2i_tag");
  Result<std::string> bytes = elf_section_bytes(*elf, *section, max_tag_bytes);
  if (!bytes) return bytes.error();
  return parse_plugin_tag(*bytes, file.string());
}

}  // namespace t2i
