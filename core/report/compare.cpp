#include "core/report/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "core/base/number_text.h"
#include "core/base/version.h"
#include "core/config/knob.h"
#include "core/metric/clock.h"
#include "core/metric/run_events.h"
#include "core/report/compare_pictures.h"
#include "core/report/page.h"
#include "core/report/report.h"

namespace t2i {
namespace {

std::string write_page(const std::string& output, const std::string& title, Json data) {
  data["written"] = utc_text(real_clock().wall_seconds());
  data["t2i"] = version;
  const std::string page = make_page("compare.html", {"common.js", "chart.js", "wipe.js", "compare.js"}, title, data);
  write_file(output, as_bytes(page));
  return fmt::format("{}: {}", output, bytes_text(page.size()));
}

std::string clipped(const std::string& text, size_t width) {  // of the terminal's columns; a character may be several bytes
  std::string out;
  size_t columns = 0;
  for (size_t i = 0; i < text.size(); ++columns) {
    size_t next = i + 1;
    while (next < text.size() && (static_cast<unsigned char>(text[next]) & 0xc0) == 0x80) ++next;
    if (columns == width - 1 && next < text.size()) return out + "…";
    out.append(text, i, next - i);
    i = next;
  }
  return out + std::string(width - columns, ' ');
}

std::string number(double x, const char* form) { return std::isfinite(x) ? fmt::format(fmt::runtime(form), x) : "–"; }

// A line of the table on the terminal: a name and a column for each run.
void row(const std::string& name, const std::vector<std::string>& values) {
  std::string line = clipped(name, 34);
  for (const std::string& value : values) line += "  " + clipped(value, 22);
  while (line.ends_with(' ')) line.pop_back();
  fmt::print("{}\n", printable(line));
}

// Two runs may lie in folders of one name: then as much of the path as tells them apart.
std::vector<std::string> names_of(const std::vector<RunFolder>& runs) {
  std::vector<std::string> names;
  for (const RunFolder& run : runs) names.push_back(run.name);
  const std::set<std::string> different(names.begin(), names.end());
  for (size_t i = 0; i < runs.size(); ++i)
    if (different.size() < runs.size()) names[i] = runs[i].path.lexically_normal().string();
  return names;
}

int compare_runs(const std::vector<std::string>& folders, const std::string& output) {
  std::vector<RunFolder> runs;
  std::vector<Error> errors;
  for (const std::string& folder : folders) {
    Result<RunFolder> run = open_run_folder(folder);
    if (run) runs.push_back(*run);
    else errors.push_back(run.error());
  }
  if (!errors.empty()) throw Failure(std::move(errors));
  const std::vector<std::string> names = names_of(runs);

  Json list = Json::array();
  std::vector<std::optional<Config>> configs;
  std::vector<Path> paths;
  std::vector<std::string> steps, losses, speeds, peaks, states;
  for (size_t i = 0; i < runs.size(); ++i) {
    Curves curves(1024);
    curves.read(runs[i].path / "metrics.jsonl");
    Json run = run_json(runs[i], curves, "");
    run["name"] = names[i];
    run.erase("config");
    states.push_back(run["status"]);
    steps.push_back(grouped(static_cast<uint64_t>(curves.last_step())));
    losses.push_back(number(curves.recent("loss", 50), "{:.5g}"));
    speeds.push_back(number(curves.recent("images_per_second", 50), "{:.4g}"));
    const double peak = curves.greatest("peak_memory_bytes");
    peaks.push_back(std::isfinite(peak) ? bytes_text(static_cast<uint64_t>(peak)) : "–");
    list.push_back(std::move(run));
    configs.push_back(runs[i].config);
    paths.push_back(runs[i].path);
  }
  PictureShelf shelf;
  const Json differences = setting_differences(configs), pictures = same_pictures(shelf, paths);

  row("", names);
  row("state", states);
  row("steps", steps);
  row("loss (mean of the last points)", losses);
  row("images per second", speeds);
  row("peak memory", peaks);
  if (!differences.empty()) fmt::print("\n");
  for (const Json& d : differences) {
    std::vector<std::string> values;
    for (const Json& value : d["values"]) values.push_back(value.is_string() ? value.get<std::string>() : "?");
    row(d["key"], values);
  }
  if (differences.empty()) fmt::print("\nThe settings are the same.\n");
  fmt::print("\n{} of the same prompt, seed and step\n", pictures["shots"].size() == 1 ? "1 picture" : fmt::format("{} pictures", pictures["shots"].size()));
  Json data = {{"kind", "runs"}, {"runs", list}, {"differences", differences}, {"pictures", pictures}};
  fmt::print("{}\n", write_page(output, "t2i compare", std::move(data)));
  return 0;
}

int compare_folders(const std::string& a, const std::string& b, const std::string& output) {
  const FolderPairs pairs = pair_folders(a, b);
  double mean = 0, worst = 0, psnr = 0;
  int most = 0;
  size_t measured = 0, equal = 0;
  const PicturePair* worst_pair = nullptr;
  for (const PicturePair& pair : pairs.pairs) {
    if (!pair.apart) {
      fmt::print("{}: not compared: {}\n", printable(pair.name), printable(pair.problem));
      continue;
    }
    ++measured, mean += pair.apart->mean, most = std::max(most, pair.apart->most);
    if (pair.apart->most == 0) ++equal;
    else psnr += pair.apart->psnr;
    if (!worst_pair || pair.apart->mean > worst) worst = pair.apart->mean, worst_pair = &pair;
  }
  fmt::print("{} pairs, {} of them equal", pairs.pairs.size(), equal);
  if (measured) fmt::print("; difference of 255: mean {:.4g}, most {}", mean / static_cast<double>(measured), most);
  if (measured > equal) fmt::print("; PSNR {:.2f} dB over those that differ", psnr / static_cast<double>(measured - equal));
  fmt::print("\n");
  if (worst_pair && worst > 0) fmt::print("the most different: {} (mean {:.4g}, PSNR {:.2f} dB)\n", printable(worst_pair->name), worst, worst_pair->apart->psnr);
  for (const auto& [folder, names] : {std::pair(a, &pairs.only_a), std::pair(b, &pairs.only_b)})
    if (!names->empty()) fmt::print("only in {}: {} pictures, the first {}\n", folder, names->size(), printable(names->front()));
  fmt::print("{}\n", write_page(output, "t2i compare", pairs_json(a, b, pairs)));
  return 0;
}

}  // namespace

Json setting_differences(const std::vector<std::optional<Config>>& configs) {
  static const std::set<std::string> places = {"output", "wandb.run_name"};
  Json out = Json::array();
  for (const Knob& knob : knobs()) {
    if (places.contains(knob.key)) continue;
    std::set<std::string> different;
    Json values = Json::array();
    for (const std::optional<Config>& config : configs) {
      values.push_back(config ? Json(yaml_flow(knob.value(*config))) : Json());
      if (config) different.insert(values.back().get<std::string>());
    }
    if (different.size() > 1) out.push_back({{"key", knob.key}, {"values", values}, {"default", knob_default(knob)}, {"doc", knob.doc}});
  }
  return out;
}

Json same_pictures(PictureShelf& shelf, const std::vector<Path>& runs) {
  using Key = std::tuple<std::string, std::string, int64_t, int64_t>;  // prompt, seed, occurrence, step
  std::map<Key, std::vector<Path>> found;
  std::vector<Key> order;
  for (size_t run = 0; run < runs.size(); ++run)
    for (const ValidationPicture& p : shelf.validation_pictures(runs[run])) {
      const Key key{p.prompt, p.seed, p.occurrence, p.step};
      auto [at, is_new] = found.try_emplace(key);
      if (is_new) order.push_back(key);
      if (at->second.size() == run) at->second.push_back(p.path);  // every run before has it, too
    }
  std::erase_if(order, [&](const Key& key) { return found[key].size() < runs.size(); });
  std::vector<int64_t> steps;
  for (const Key& key : order) steps.push_back(std::get<3>(key));
  std::sort(steps.begin(), steps.end());
  steps.erase(std::unique(steps.begin(), steps.end()), steps.end());
  std::map<int64_t, size_t> at_step;
  size_t widest = 1;
  for (const Key& key : order) widest = std::max(widest, ++at_step[std::get<3>(key)]);
  const std::vector<int64_t> shown = spread(steps, most_pictures / (widest * std::max<size_t>(runs.size(), 1)));
  const std::set<int64_t> wanted(shown.begin(), shown.end());
  const int side = side_for(shown.size() * widest * runs.size());

  Json rows = Json::array(), shots = Json::array(), files = Json::array();
  std::map<std::tuple<std::string, std::string, int64_t>, size_t> row_of;
  for (const Key& key : order) {
    const auto& [prompt, seed, occurrence, step] = key;
    if (!wanted.contains(step)) continue;
    auto [at, is_new] = row_of.try_emplace({prompt, seed, occurrence}, rows.size());
    if (is_new) rows.push_back({{"prompt", prompt}, {"seed", seed}});
    Json indices = Json::array();
    for (const Path& path : found[key])
      if (const ShownPicture* picture = shelf.show(path, side)) {
        indices.push_back(files.size());
        files.push_back({{"width", picture->width}, {"height", picture->height}, {"uri", picture->uri}});
      }
    if (indices.size() == runs.size()) shots.push_back({{"row", at->second}, {"step", step}, {"files", indices}});
  }
  return {{"rows", rows}, {"steps", shown}, {"shots", shots}, {"files", files}, {"side", side}, {"left_out_steps", steps.size() - shown.size()}};
}

int compare_folders_or_runs(const std::vector<std::string>& folders, const std::string& output) {
  size_t runs = 0;
  std::error_code none;
  std::vector<Error> errors;
  for (const std::string& folder : folders) {
    runs += is_run_folder(folder);
    if (!std::filesystem::is_directory(folder, none))
      errors.push_back({folder, "there is no such folder", "", "give the output folders of runs, or two folders of pictures", "E8001", Exit::missing});
  }
  if (!errors.empty()) throw Failure(std::move(errors));
  if (runs > 0 && runs < folders.size()) {
    for (const std::string& folder : folders)
      if (!is_run_folder(folder))
        errors.push_back({folder, "is not the folder of a run, and others are", "It has neither a config.yaml nor a metrics.jsonl",
                          "compare runs with runs, and pictures with pictures", "E8003", Exit::bad_data});
    throw Failure(std::move(errors));
  }
  if (runs == 0 && folders.size() > 2)
    fail({"t2i compare", fmt::format("there are {} folders of pictures", folders.size()), "", "give two", "E8004", Exit::usage});
  require_own_page(output);
  return runs ? compare_runs(folders, output) : compare_folders(folders[0], folders[1], output);
}

}  // namespace t2i
