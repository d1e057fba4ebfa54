#include "core/plug/elf.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <system_error>

namespace t2i {
namespace {

constexpr uint64_t max_sections = 4096, max_symbols = 1u << 20, max_names_bytes = 64u << 20, max_needed = 1024,
                   max_name = 4096;
#if defined(__x86_64__)
constexpr uint16_t this_machine = EM_X86_64;
#elif defined(__aarch64__)
constexpr uint16_t this_machine = EM_AARCH64;
#endif

Error bad(const std::string& where, const std::string& what) {
  return {where,   what,          "", "Give a shared library built for this machine, by t2i_add_plugin().",
          "E2053", Exit::bad_data};
}

// A plain struct from the file, only if all of it lies inside.
template <class T>
bool get(const ElfFile& elf, uint64_t offset, T& out) {
  if (offset > elf.size || elf.size - offset < sizeof(T)) return false;
  return elf.read(offset, {reinterpret_cast<unsigned char*>(&out), sizeof(T)});
}

// The text at `at` of a string table, ended by its NUL, by the table or by the bound that keeps a hostile table cheap.
std::string name_at(const std::string& table, uint64_t at) {
  return at < table.size() ? std::string(table.c_str() + at, ::strnlen(table.c_str() + at, max_name)) : std::string();
}

}  // namespace

const ElfSection* ElfFile::find(const std::string& name) const {
  for (const ElfSection& s : sections)
    if (s.name == name) return &s;
  return nullptr;
}

Result<ElfFile> parse_elf(std::string where, uint64_t size, ElfBytes read) {
  ElfFile elf{std::move(where), size, std::move(read), {}, false};
  Elf64_Ehdr header;
  if (!get(elf, 0, header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
    return bad(elf.where, "this is not a shared library (no ELF header)");
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
      header.e_machine != this_machine)
    return bad(elf.where, "this library was built for another kind of machine (ELF machine " +
                              std::to_string(header.e_machine) + ", this one is " + std::to_string(this_machine) + ")");
  if (header.e_type != ET_DYN) return bad(elf.where, "this ELF file is not a shared library");
  if (header.e_shentsize != sizeof(Elf64_Shdr) || header.e_shnum == 0 || header.e_shnum > max_sections ||
      header.e_shstrndx >= header.e_shnum)
    return bad(elf.where, "the library's section table cannot be read");
  if (header.e_phnum != 0 && header.e_phentsize != sizeof(Elf64_Phdr))
    return bad(elf.where, "the library's program headers cannot be read");

  for (uint64_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr p;
    if (header.e_phoff > size || !get(elf, header.e_phoff + i * sizeof p, p))
      return bad(elf.where, "the library is cut off: its program headers lie outside the file");
    if (p.p_type == PT_GNU_STACK && (p.p_flags & PF_X)) elf.executable_stack = true;
  }
  std::vector<uint32_t> name_offsets;
  for (uint64_t i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr s;
    if (header.e_shoff > size || !get(elf, header.e_shoff + i * sizeof s, s))
      return bad(elf.where, "the library is cut off: its section table lies outside the file");
    elf.sections.push_back({"", s.sh_type, s.sh_link, s.sh_offset, s.sh_size, s.sh_entsize});
    name_offsets.push_back(s.sh_name);
  }
  Result<std::string> names = elf_section_bytes(elf, elf.sections[header.e_shstrndx], max_names_bytes);
  if (!names) return names.error();
  for (size_t i = 0; i < elf.sections.size(); ++i) elf.sections[i].name = name_at(*names, name_offsets[i]);
  return elf;
}

Result<ElfFile> open_elf(const std::filesystem::path& file) {
  int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat st {};
  if (fd < 0 || ::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
    std::string reason = fd < 0 ? std::generic_category().message(errno) : "not a file";
    if (fd >= 0) ::close(fd);
    return Error{file.string(), "cannot be read: " + reason, "", "Check the path and its permissions.", "E2052",
                 Exit::missing};
  }
  std::shared_ptr<int> owned(new int(fd), [](int* p) { ::close(*p), delete p; });
  return parse_elf(
      file.string(), static_cast<uint64_t>(st.st_size), [owned](uint64_t offset, std::span<unsigned char> out) {
        return ::pread(*owned, out.data(), out.size(), static_cast<off_t>(offset)) == static_cast<ssize_t>(out.size());
      });
}

Result<std::string> elf_section_bytes(const ElfFile& elf, const ElfSection& section, uint64_t limit_bytes) {
  if (section.type == SHT_NOBITS || section.offset > elf.size || elf.size - section.offset < section.size)
    return bad(elf.where, "the library is cut off: its section '" + section.name + "' lies outside the file");
  if (section.size > limit_bytes)
    return bad(elf.where, "its section '" + section.name + "' has " + std::to_string(section.size) +
                              " bytes, at most " + std::to_string(limit_bytes) + " are read");
  std::string bytes(section.size, '\0');
  if (!elf.read(section.offset, {reinterpret_cast<unsigned char*>(bytes.data()), bytes.size()}))
    return bad(elf.where, "its section '" + section.name + "' cannot be read");
  return bytes;
}

Result<std::vector<ElfSymbol>> elf_dynamic_symbols(const ElfFile& elf) {
  std::vector<ElfSymbol> symbols;
  for (const ElfSection& section : elf.sections) {
    if (section.type != SHT_DYNSYM) continue;
    if (section.entry_size != sizeof(Elf64_Sym) || section.link >= elf.sections.size())
      return bad(elf.where, "its table of dynamic symbols cannot be read");
    Result<std::string> table = elf_section_bytes(elf, section, max_symbols * sizeof(Elf64_Sym));
    if (!table) return table.error();
    Result<std::string> names = elf_section_bytes(elf, elf.sections[section.link], max_names_bytes);
    if (!names) return names.error();
    for (size_t at = 0; at + sizeof(Elf64_Sym) <= table->size(); at += sizeof(Elf64_Sym)) {
      Elf64_Sym s;
      std::memcpy(&s, table->data() + at, sizeof s);
      unsigned binding = ELF64_ST_BIND(s.st_info);
      if (binding == STB_LOCAL || s.st_name == 0) continue;
      symbols.push_back({name_at(*names, s.st_name), s.st_shndx != SHN_UNDEF, binding == STB_GNU_UNIQUE});
    }
  }
  return symbols;
}

Result<std::vector<std::string>> elf_needed(const ElfFile& elf) {
  std::vector<std::string> needed;
  for (const ElfSection& section : elf.sections) {
    if (section.type != SHT_DYNAMIC) continue;
    if (section.link >= elf.sections.size()) return bad(elf.where, "its dynamic section cannot be read");
    Result<std::string> table = elf_section_bytes(elf, section, max_names_bytes);
    if (!table) return table.error();
    Result<std::string> names = elf_section_bytes(elf, elf.sections[section.link], max_names_bytes);
    if (!names) return names.error();
    for (size_t at = 0; at + sizeof(Elf64_Dyn) <= table->size(); at += sizeof(Elf64_Dyn)) {
      Elf64_Dyn d;
      std::memcpy(&d, table->data() + at, sizeof d);
      if (d.d_tag == DT_NEEDED && needed.size() < max_needed) needed.push_back(name_at(*names, d.d_un.d_val));
    }
  }
  return needed;
}

}  // namespace t2i
