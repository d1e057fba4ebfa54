// A look at a shared library without running any of it: its sections and dynamic symbols, read from the file.
//
// Knows ELF64 little-endian only (every platform t2i runs on). The file is untrusted: each offset, size and count in it
// is checked against the file's size before use, nothing is trusted to be aligned or terminated, and no table above a
// fixed bound is read. Errors are values; a broken file never crashes the reader.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/base/error.h"

namespace t2i {

// Fills `out` from byte `offset` of the file, or says false. elf.cpp checks the range before it asks.
using ElfBytes = std::function<bool(uint64_t offset, std::span<unsigned char> out)>;

struct ElfSection {
  std::string name;
  uint32_t type = 0, link = 0;
  uint64_t offset = 0, size = 0, entry_size = 0;
};

struct ElfSymbol {
  std::string name;
  bool defined = false;  // exported by this file; false: wanted from another one
  bool unique = false;   // STB_GNU_UNIQUE: one object for the whole process, which pins libraries together
};

struct ElfFile {
  std::string where;  // the file's name, for messages
  uint64_t size = 0;
  ElfBytes read;
  std::vector<ElfSection> sections;
  bool executable_stack = false;

  const ElfSection* find(const std::string& name) const;
};

// Reads the header, the section table and the program headers. E2053 when this is no shared library for this machine.
Result<ElfFile> open_elf(const std::filesystem::path& file);
Result<ElfFile> parse_elf(std::string where, uint64_t size, ElfBytes read);

// The bytes of a section; E2053 when it is larger than `limit_bytes` or lies outside the file.
Result<std::string> elf_section_bytes(const ElfFile& elf, const ElfSection& section, uint64_t limit_bytes);

// The global symbols of .dynsym: what the library exports and what it wants from others.
Result<std::vector<ElfSymbol>> elf_dynamic_symbols(const ElfFile& elf);

// The libraries it names as needed (DT_NEEDED), in order.
Result<std::vector<std::string>> elf_needed(const ElfFile& elf);

}  // namespace t2i
