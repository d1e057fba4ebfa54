// T5's tokenizer by hand, for the test that compares it with transformers': no plugin needs to use it.
//   t5_probe FOLDER LENGTH VOCABULARY
// Texts on stdin, each ended by a NUL; on stdout a line for each: how many tokens it has by itself, then its LENGTH
// tokens. Errors as a plugin would hand them on.
#include <nn/t5_tokenizer.hpp>
#include <t2i/t2i.hpp>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>

namespace {

std::string bytes_of(std::istream& in) { return {std::istreambuf_iterator<char>(in), {}}; }

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return std::cerr << "t5_probe FOLDER LENGTH VOCABULARY\n", 64;
  std::map<std::string, std::string> files;
  auto read = [&](const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return in ? std::string_view(files[path] = bytes_of(in)) : std::string_view();
  };
  try {
    const t2i::T5Tokenizer tokenizer(read, argv[1], std::atoll(argv[3]));
    for (std::string text; std::getline(std::cin, text, '\0');) {
      std::cout << tokenizer.tokens(text).size();
      for (int64_t token : tokenizer.encode(text, std::atoll(argv[2]))) std::cout << ' ' << token;
      std::cout << '\n';
    }
  } catch (const t2i::Error& e) {
    std::cerr << e.what() << '\n';
    return 1;
  }
  return 0;
}
