// What can be said of the file before its code is used.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <time.h>

#include <set>

#include "core/plug/check/faulty_host.h"
#include "core/plug/check/outcome.h"
#include "core/plug/elf.h"
#include "core/plug/host.h"
#include "core/plug/library.h"

#define BOOST_DLL_USE_STD_FS
#include <boost/dll/shared_library.hpp>

namespace t2i {
namespace {

Outcome passed(std::string text = "") { return {Outcome::pass, std::move(text)}; }
Outcome failed(std::string text) { return {Outcome::fail, std::move(text)}; }
Outcome skipped(std::string text) { return {Outcome::skip, std::move(text)}; }

Outcome tag(const CheckContext& context) {
  Result<PluginTag> tag = read_plugin_tag(context.file);
  if (!tag) return failed(tag.error().what);
  if (tag->abi_major != T2I_ABI_MAJOR || tag->abi_minor != T2I_ABI_MINOR)
    return failed(fmt::format("it was built for plugin interface {}.{}; this core has {}.{}", tag->abi_major, tag->abi_minor,
                              T2I_ABI_MAJOR, T2I_ABI_MINOR));
  if (tag->torch != "any" && tag->torch != host()->torch_version)
    return failed(fmt::format("it was built for torch {}; this core has {}", tag->torch, host()->torch_version));
  return passed(fmt::format("interface {}.{}, torch {}, id {}", tag->abi_major, tag->abi_minor, tag->torch, tag->id));
}

Outcome permissions(const CheckContext& context) {
  if (auto problem = plugin_permission_problem(context.file)) return failed(problem->where + ": " + problem->what);
  return passed();
}

// What a look at the symbols says; skipped where tag() already said that the file cannot be read.
template <class Look>
Outcome with_symbols(const CheckContext& context, Look look) {
  Result<ElfFile> elf = open_elf(context.file);
  if (!elf) return skipped("the file cannot be read");
  Result<std::vector<ElfSymbol>> symbols = elf_dynamic_symbols(*elf);
  if (!symbols) return failed(symbols.error().what);
  return look(*elf, *symbols);
}

std::string some(const std::vector<std::string>& names) {
  size_t shown = std::min<size_t>(names.size(), 3);
  return fmt::format("{}{}", fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
                     names.size() > shown ? fmt::format(" and {} more", names.size() - shown) : "");
}

Outcome exports(const CheckContext& context) {
  return with_symbols(context, [](const ElfFile&, const std::vector<ElfSymbol>& symbols) {
    bool entry = false;
    std::vector<std::string> others;
    for (const ElfSymbol& s : symbols) {
      if (!s.defined) continue;
      if (s.name == T2I_ENTRY_NAME)
        entry = true;
      else
        others.push_back(s.name);
    }
    if (!entry) return failed("it does not export " T2I_ENTRY_NAME);
    if (!others.empty()) return failed("it also exports " + some(others) + "; link it with t2i_add_plugin()'s version script");
    return passed();
  });
}

Outcome imports(const CheckContext& context) {
  return with_symbols(context, [&](const ElfFile& elf, const std::vector<ElfSymbol>& symbols) {
    if (Result<PluginTag> tag = read_plugin_tag(context.file); tag && tag->torch != "any") return skipped("it is of the LibTorch tier");
    std::vector<std::string> found;
    if (Result<std::vector<std::string>> needed = elf_needed(elf))
      for (const std::string& library : *needed)
        if (library.starts_with("libtorch") || library.starts_with("libc10")) found.push_back(library);
    for (const ElfSymbol& s : symbols)
      for (const char* room : {"N2at", "N3c10", "N5torch", "NK2at", "NK3c10", "NK5torch", "aoti_torch_", "torch_"})
        if (!s.defined && (s.name.starts_with("_Z" + std::string(room)) || s.name.starts_with(room))) found.push_back(s.name);
    if (!found.empty()) return failed("it wants " + some(found) + "; the stable tier links no torch library");
    return passed();
  });
}

Outcome unique_symbols(const CheckContext& context) {
  return with_symbols(context, [](const ElfFile&, const std::vector<ElfSymbol>& symbols) {
    std::vector<std::string> unique;
    for (const ElfSymbol& s : symbols)
      if (s.unique) unique.push_back(s.name);
    if (!unique.empty()) return failed("process-wide symbols: " + some(unique) + "; compile with -fno-gnu-unique");
    return passed();
  });
}

Outcome stack(const CheckContext& context) {
  return with_symbols(context, [](const ElfFile& elf, const std::vector<ElfSymbol>&) {
    return elf.executable_stack ? failed("it asks for an executable stack; link with -z noexecstack") : passed();
  });
}

Outcome loads(const CheckContext& context) {
  Result<LoadedPlugin> plugin = load_plugin(context.file, faulty_host());
  if (!plugin && plugin.error().id == "E2058") return failed(plugin.error().what);
  return passed();
}

double cpu_seconds() {
  timespec t{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

Outcome entry(const CheckContext& context) {
  if (!read_plugin_tag(context.file)) return skipped("it has no tag");
  double before = cpu_seconds();
  boost::dll::shared_library library;
  try {
    library.load(context.file, boost::dll::load_mode::rtld_now | boost::dll::load_mode::rtld_local);
  } catch (const std::exception&) {
    return skipped("it does not load");
  }
  if (!library.has(T2I_ENTRY_NAME)) return skipped("it does not export " T2I_ENTRY_NAME);
  auto& function = library.get<const t2i_plugin*()>(T2I_ENTRY_NAME);
  const t2i_plugin *first = function(), *second = function();
  double spent_ms = 1000 * (cpu_seconds() - before);
  if (!first) return failed("it gave no descriptor");
  if (first != second) return failed("two calls gave two descriptors");
  if (spent_ms > 50) return failed(fmt::format("loading it and asking for its descriptor took {:.0f} ms of processor time", spent_ms));
  return passed();
}

}  // namespace

const std::vector<Check>& file_checks() {
  static const std::vector<Check> checks{
      {"file", "tag", "F1", "carries a readable tag that fits this core", tag},
      {"file", "permissions", "F2", "nobody else can write to the file or its folder", permissions},
      {"file", "exports", "F3", "exports " T2I_ENTRY_NAME " and nothing else", exports},
      {"file", "imports", "F4", "imports no torch symbol", imports},
      {"file", "unique", "F5", "has no process-wide (STB_GNU_UNIQUE) symbol", unique_symbols},
      {"file", "stack", "F6", "asks for no executable stack", stack},
      {"file", "loads", "F7", "loads with every symbol resolved", loads},
      {"file", "entry", "F8", "gives the same descriptor each time, in under 50 ms", entry},
  };
  return checks;
}

}  // namespace t2i
