// What core/kernel/nf4.h makes of floats, for comparison with bitsandbytes.
//   nf4_probe IN OUT MEAN    IN: float32 numbers; OUT: packed, scales, the scales' codes, the scales' block scales, the
//   weights from packed scales, dynamic_values(), one behind another
//   nf4_probe time COUNT     prints the seconds that it takes to unpack so many weights
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#include "core/kernel/nf4.h"

using namespace t2i;

namespace {

template <class T>
void put(std::ofstream& out, const T& values) {
  out.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(values[0])));
}

void time_it(int64_t count) {
  std::vector<uint8_t> packed(static_cast<size_t>(nf4_bytes(count)), 0x5a);
  std::vector<float> scales(static_cast<size_t>(nf4_blocks(count)), 0.5f), out(static_cast<size_t>(count));
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    auto before = std::chrono::steady_clock::now();
    dequantize_nf4(packed, scales, out);
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - before).count());
  }
  std::printf("%.4f\n", best);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "time") return time_it(std::atoll(argv[2])), 0;
  if (argc != 4) return 64;
  std::ifstream in(argv[1], std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(in), {});
  std::vector<float> x(bytes.size() / sizeof(float));
  std::memcpy(x.data(), bytes.data(), x.size() * sizeof(float));
  const int64_t count = static_cast<int64_t>(x.size());
  std::vector<uint8_t> packed(static_cast<size_t>(nf4_bytes(count)));
  std::vector<float> scales(static_cast<size_t>(nf4_blocks(count))), back(scales.size()), weights(x.size());
  quantize_nf4(x, packed, scales);
  PackedScales twice = pack_scales(scales, std::strtof(argv[3], nullptr));
  unpack_scales(twice.codes, twice.block_scales, twice.mean, back);
  dequantize_nf4(packed, back, weights);
  std::ofstream out(argv[2], std::ios::binary);
  put(out, packed), put(out, scales), put(out, twice.codes), put(out, twice.block_scales), put(out, weights), put(out, dynamic_values());
  return out ? 0 : 74;
}
