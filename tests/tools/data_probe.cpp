// The data room by hand, for tests that compare it with other programs: one command a run, results as text or raw
// bytes. Errors are printed as the product prints them, and the exit code is theirs.
//   data_probe decode FILE OUT                          pixels, 8-bit RGB rows; prints width, height, notes
//   data_probe resize FILE OUT WIDTH HEIGHT FILTER      filter: bilinear, bicubic, lanczos
//   data_probe sample FILE OUT SIZE KEY=VALUE…          float32, channels first; prints the geometry
//   data_probe dataset PATH COLUMNS KEY=VALUE…          rows, notices, fingerprint
//   data_probe load PATH COLUMNS KEY=VALUE…             loads every row; prints each sample and a hash of its floats
//   data_probe text FILE.png | write OUT.png FILE KEYWORD TEXT
// COLUMNS: NAME:image or NAME:text, a third part the name in the data, a "?" before it where not required; by commas.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>

#include "core/base/hash.h"
#include "core/data/decode.h"
#include "core/data/loader.h"
#include "core/data/png_write.h"

using namespace t2i;

namespace {

std::vector<ColumnSpec> parse_columns(const std::string& text) {
  std::vector<ColumnSpec> columns;
  std::istringstream list(text);
  for (std::string part; std::getline(list, part, ',');) {
    std::istringstream fields(part);
    std::string name, kind, source;
    std::getline(fields, name, ':');
    std::getline(fields, kind, ':');
    std::getline(fields, source, ':');
    bool required = !name.starts_with('?');
    columns.push_back({required ? name : name.substr(1), kind == "image", source, required});
  }
  return columns;
}

struct Keys {
  std::map<std::string, std::string> values;
  Keys(int argc, char** argv, int from) {
    for (int i = from; i < argc; ++i) {
      std::string key = argv[i];
      size_t equals = key.find('=');
      values[key.substr(0, equals)] = key.substr(equals + 1);
    }
  }
  std::string text(const std::string& key, const std::string& otherwise) const {
    auto found = values.find(key);
    return found == values.end() ? otherwise : found->second;
  }
  int number(const std::string& key, int otherwise) const {
    return std::atoi(text(key, std::to_string(otherwise)).c_str());
  }
};

Filter parse_filter(const std::string& name) {
  return name == "bilinear" ? Filter::bilinear : name == "bicubic" ? Filter::bicubic : Filter::lanczos;
}

template <class T>
void write_raw(const std::string& path, const std::vector<T>& values) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(T)));
}

DatasetOptions dataset_options(const Keys& keys) {
  std::string missing = keys.text("caption_missing", "error");
  DatasetOptions options;
  options.allow_outside = keys.number("allow_outside", 0);
  options.skip_bad_files = keys.number("skip", 0);
  options.caption_missing = missing == "empty"      ? CaptionMissing::empty
                            : missing == "filename" ? CaptionMissing::filename
                                                    : CaptionMissing::error;
  return options;
}

TransformOptions transform_options(const Keys& keys, int size) {
  return {keys.number("width", size), keys.number("height", size), keys.number("center", 0) != 0,
          keys.number("flip", 0) != 0, parse_filter(keys.text("filter", "lanczos"))};
}

std::string shown(const Geometry& g) {
  std::ostringstream out;
  out << g.original_width << "x" << g.original_height << " -> " << g.resized_width << "x" << g.resized_height
      << " crop " << g.crop_top << "," << g.crop_left << " " << g.width << "x" << g.height
      << (g.flip ? " flipped" : "");
  return out.str();
}

int decode_command(int argc, char** argv, bool resized) {
  Image image = load_image(argv[2]).take();
  if (resized && argc > 6) image = resize(image, std::atoi(argv[4]), std::atoi(argv[5]), parse_filter(argv[6]));
  std::cout << image.width << " " << image.height << "\n";
  for (const std::string& note : image.notes) std::cout << note << "\n";
  write_raw(argv[3], image.rgb);
  return 0;
}

int sample_command(int argc, char** argv) {
  Keys keys(argc, argv, 5);
  TransformOptions options = transform_options(keys, std::atoi(argv[4]));
  Image image = load_image(argv[2]).take();
  DrawKey key{static_cast<uint64_t>(keys.number("seed", 0)), static_cast<uint64_t>(keys.number("step", 0)),
              static_cast<uint64_t>(keys.number("sample", 0))};
  Geometry geometry = derive_geometry(options, image.width, image.height, key);
  std::cout << shown(geometry) << "\n";
  write_raw(argv[3], apply_geometry(image, geometry, options.filter).chw);
  return 0;
}

int dataset_command(int argc, char** argv) {
  Dataset dataset = open_dataset(argv[2], parse_columns(argv[3]), dataset_options(Keys(argc, argv, 4)));
  for (const std::string& notice : dataset.notices) std::cout << "notice: " << notice << "\n";
  for (const Row& row : dataset.rows) {
    std::cout << row.index << " " << row.where;
    for (const auto& [name, value] : row.values) std::cout << " | " << name << "=" << value;
    std::cout << "\n";
  }
  std::cout << "fingerprint " << dataset.fingerprint << "\n";
  return 0;
}

int load_command(int argc, char** argv) {
  Keys keys(argc, argv, 4);
  LoaderOptions options;
  options.columns = parse_columns(argv[3]);
  Dataset dataset = open_dataset(argv[2], options.columns, dataset_options(keys));
  options.transform = transform_options(keys, keys.number("size", 64));
  options.on_error = keys.number("skip", 0) ? OnError::skip : OnError::stop;
  options.resize_mismatched = keys.number("resize_mismatched", 0);
  options.num_workers = keys.number("workers", 2);
  Loader loader(dataset, options);
  uint64_t batch = static_cast<uint64_t>(keys.number("batch", 4)), step = 0;
  for (uint64_t at = 0; at < dataset.rows.size(); at += batch, ++step) {
    std::vector<Draw> draws;
    for (uint64_t i = at; i < std::min<uint64_t>(at + batch, dataset.rows.size()); ++i)
      draws.push_back({i, {static_cast<uint64_t>(keys.number("seed", 0)), step, i}});
    loader.request(draws);
  }
  while (loader.pending())
    for (const Sample& sample : loader.next()) {
      std::cout << sample.index << " " << sample.where << " " << shown(sample.geometry);
      for (const auto& [name, image] : sample.images)
        std::cout << " | " << name << "=" << xxh3_hex(std::as_bytes(std::span(image.chw)));
      for (const auto& [name, text] : sample.texts) std::cout << " | " << name << "=" << text;
      std::cout << "\n";
    }
  for (const BadRow& bad : dataset.bad) std::cout << "bad " << bad.index << ": " << to_string(bad.reason) << "\n";
  for (const SkippedSample& skipped : loader.skipped())
    std::cout << "skipped " << skipped.index << " for " << skipped.replaced_by << ": " << to_string(skipped.reason)
              << "\n";
  for (const std::string& notice : loader.notices()) std::cout << "notice: " << notice << "\n";
  return 0;
}

int run(int argc, char** argv) {
  std::string command = argc > 2 ? argv[1] : "";
  if (command == "decode" && argc > 3) return decode_command(argc, argv, false);
  if (command == "resize" && argc > 6) return decode_command(argc, argv, true);
  if (command == "sample" && argc > 4) return sample_command(argc, argv);
  if (command == "dataset" && argc > 3) return dataset_command(argc, argv);
  if (command == "load" && argc > 3) return load_command(argc, argv);
  if (command == "text") {
    for (const auto& [keyword, text] : read_png_text(argv[2]).take()) std::cout << keyword << "=" << text << "\n";
    return 0;
  }
  if (command == "write" && argc > 5) {
    Image image = load_image(argv[3]).take();
    write_png(argv[2], image.width, image.height, image.rgb, {{argv[4], argv[5]}});
    return 0;
  }
  std::cerr << "see the head of data_probe.cpp\n";
  return static_cast<int>(Exit::usage);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const Failure& failure) {
    std::cout << failure.what() << "\n";
    return static_cast<int>(failure.exit());
  }
}
