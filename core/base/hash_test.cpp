#include "core/base/hash.h"

#include <gtest/gtest.h>

#include <cstdio>

using namespace t2i;

// Published vectors: FIPS 180-2 for SHA-256; XXH3's empty digest from its specification, "abc" from `xxhsum -H2`.
TEST(Hash, KnownVectors) {
  EXPECT_EQ(sha256_hex(as_bytes("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex(as_bytes("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(xxh3_hex(as_bytes("")), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(xxh3_hex(as_bytes("abc")), "06b05ab6733a618578af5f94892f3950");
}

TEST(Hash, InPiecesOrAtOnceIsTheSame) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += std::to_string(i * 7919);
  for (size_t piece : {1u, 3u, 64u, 255u, 256u, 4096u}) {
    Xxh3 hash;
    for (size_t at = 0; at < text.size(); at += piece) hash.update(as_bytes(std::string_view(text).substr(at, piece)));
    EXPECT_EQ(hash.hex(), xxh3_hex(as_bytes(text)));
    hash.reset();
    EXPECT_EQ(hash.hex(), xxh3_hex(as_bytes("")));
  }
}

TEST(Hash, OfAFile) {
  Path path = std::filesystem::temp_directory_path() / ("t2i-hash-" + random_hex(16));
  std::string text(3'000'001, 'x');
  write_file(path, as_bytes(text));
  EXPECT_EQ(sha256_of_file(path).take(), sha256_hex(as_bytes(text)));
  EXPECT_EQ(xxh3_of_file(path).take(), xxh3_hex(as_bytes(text)));
  std::filesystem::remove(path);
  EXPECT_EQ(sha256_of_file(path).error().id, "E4103");
}
