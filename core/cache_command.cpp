#include "core/cache_command.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <cstdio>
#include <set>

#include "core/base/number_text.h"
#include "core/cache/segment.h"
#include "core/cache/store.h"
#include "core/data/text.h"
#include "core/metric/job_progress.h"
#include "core/precision/device.h"
#include "core/session.h"
#include "core/train/cache_build.h"
#include "core/train/run_cache.h"
#include "core/train/stop_signal.h"

namespace t2i {
namespace {

void say(const std::string& line) { std::printf("%s\n", printable(line).c_str()), std::fflush(stdout); }
void tell(const std::string& line) { std::fprintf(stderr, "%s\n", printable(line).c_str()); }

bool like_any(const std::string& text, const std::vector<std::string>& patterns) {
  return std::ranges::any_of(patterns, [&](const std::string& p) { return p == text || fnmatch(p.c_str(), text.c_str(), 0) == 0; });
}

// All that are given must agree.
bool is_chosen(const CacheOptions& o, const CacheEntry& e) {
  if (!o.sources.empty() && !like_any(e.source, o.sources)) return false;
  if (!o.texts.empty() && (e.kind != "text" || !like_any(e.text, o.texts))) return false;
  if (!o.kinds.empty() && std::ranges::count(o.kinds, e.kind) == 0) return false;
  return o.encoders.empty() || std::ranges::any_of(o.encoders, [&](const std::string& begin) { return e.encoder.starts_with(begin); });
}

CacheStore open_existing(const Path& folder) {
  if (!std::filesystem::exists(folder))
    fail({folder.string(), "there is no cache", "", "t2i cache build CONFIG.yaml makes one", "E8076", Exit::missing});
  return CacheStore::open(folder);
}

std::string of_entries(uint64_t n) { return fmt::format("{} {}", grouped(n), n == 1 ? "entry" : "entries"); }

void tell_change(const CacheChange& change) {
  for (const std::string& segment : change.in_use) tell(fmt::format("notice: {} is being built by another process and stays as it is", segment));
}

// "512x512 at 0,64 flipped", "12 words".
std::string detail_of(const CacheEntry& e) {
  if (e.kind == "text") return e.text.empty() ? "(the empty text)" : e.text;
  const Json& a = e.about;
  if (!a.is_object()) return "";
  return fmt::format("{}x{} of {}x{}, crop at {},{}{}", a["size"][0].get<int>(), a["size"][1].get<int>(), a["original"][0].get<int>(), a["original"][1].get<int>(),
                     a["crop_top_left"][0].get<int>(), a["crop_top_left"][1].get<int>(), a["flip"].get<bool>() ? ", flipped" : "");
}

int list(const CacheOptions& options, const Path& folder) {
  const CacheStore store = open_existing(folder);
  std::map<std::pair<std::string, std::string>, std::pair<uint64_t, uint64_t>> totals;
  for (const PlacedEntry& placed : store.entries()) {
    const CacheEntry& e = placed.entry;
    if (!is_chosen(options, e)) continue;
    auto& [entries, bytes] = totals[{e.kind, e.encoder}];
    ++entries, bytes += e.bytes;
    if (options.json) {
      Json line = {{"key", e.key}, {"kind", e.kind}, {"source", e.source}, {"encoder", e.encoder}, {"about", e.about}, {"made", e.made}, {"bytes", e.bytes},
                   {"file", store.segments()[placed.segment].data_path.string()}, {"offset", e.offset}, {"hash", e.hash}};
      if (e.kind == "text") line["text"] = e.text;
      std::printf("%s\n", line.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
    } else {
      say(fmt::format("{:<8} {:>9}  {:.8}  {}  {}", e.kind, bytes_text(e.bytes), e.encoder, e.source.empty() ? "-" : e.source, detail_of(e)));
    }
  }
  if (options.json) return 0;
  uint64_t files = 0, bytes = 0;
  for (const Segment& s : store.segments()) ++files, bytes += s.file_bytes;
  for (const auto& [kind, total] : totals) say(fmt::format("{}: {} by encoder {:.8}, {}", kind.first, of_entries(total.first), kind.second, bytes_text(total.second)));
  say(fmt::format("{}: {} in {}", folder.string(), bytes_text(bytes), counted(files, "file")));
  for (const std::string& n : store.notices()) say("notice: " + n);
  return 0;
}

int verify(const CacheOptions& options, const Path& folder) {
  const CacheStore store = open_existing(folder);
  std::set<std::string> damaged;
  std::vector<Error> errors;
  uint64_t bytes = 0;
  {
    JobProgress progress;
    int64_t done = 0;
    for (const PlacedEntry& placed : store.entries()) {
      if (auto read = store.read(placed); !read) damaged.insert(placed.entry.key), errors.push_back(read.error());
      bytes += placed.entry.bytes;
      if (const Segment& s = store.segments()[placed.segment]; s.map) s.map->unload(s.map->bytes().subspan(placed.entry.offset, placed.entry.bytes));
      progress.update("verifying", static_cast<double>(++done), static_cast<double>(store.entries().size()));
    }
  }
  for (const std::string& n : store.notices()) tell("notice: " + n);
  say(fmt::format("{}: {} read, {}; {} damaged", folder.string(), of_entries(store.entries().size()), bytes_text(bytes), damaged.size()));
  if (damaged.empty()) return 0;
  if (!options.fix) throw Failure(std::move(errors));
  for (const Error& e : errors) tell("notice: " + e.where + ": " + e.what);
  const CacheChange change = remove_entries(folder, [&](const CacheEntry& e) { return damaged.contains(e.key); });
  tell_change(change);
  say(fmt::format("{} taken out; t2i cache build makes {} again", of_entries(change.entries), change.entries == 1 ? "it" : "them"));
  return 0;
}

int rm(const CacheOptions& options, const Path& folder) {
  open_existing(folder);
  const CacheChange change = remove_entries(folder, [&](const CacheEntry& e) { return options.all || is_chosen(options, e); }, options.dry_run);
  tell_change(change);
  say(fmt::format("{} {} taken out, {}{}", of_entries(change.entries), options.dry_run ? "would be" : change.entries == 1 ? "was" : "were", bytes_text(change.bytes),
                  options.dry_run || change.freed_bytes >= change.bytes ? "" : "; t2i cache gc gives the room back"));
  return 0;
}

struct Opened {
  std::unique_ptr<Session> session;
  std::unique_ptr<Group> group;
  RunData data;
  std::unique_ptr<RunCache> cache;
};

// As a run would open it, whatever data.cache says.
Opened open_for(const CacheOptions& options) {
  Config config = options.config;
  if (config.data.cache == "off") config.data.cache = "auto";
  install_stop_signals();
  Launch launch = launch_from_environment().take();
  const int threads = static_cast<int>(config.train.num_threads);
  set_compute_threads(threads ? threads : default_threads(launch.local_world));
  Opened out;
  out.session = open_session(config, options.plugin_paths, {.device = config.train.device, .local_rank = launch.local_rank});
  out.group = make_group(launch, out.session->device, 600);
  require_parts(*out.session, {"text_encoder", "vae"});
  out.data = open_run_data(config, *out.session);
  if (out.group->is_first())
    for (const std::string& notice : out.data.dataset.notices) tell("notice: " + notice);
  out.cache = open_run_cache(*out.session, config, out.data, *out.group, options.rehash);
  return out;
}

int build(const CacheOptions& options) {
  Opened o = open_for(options);
  const bool first = o.group->is_first();
  if (!o.cache) return tell("stopped; the same command goes on from here"), static_cast<int>(Exit::preempted);
  if (first)
    for (const std::string& line : cache_summary(*o.cache, o.data.dataset)) say(line);
  if (options.dry_run) return 0;
  const CacheBuild done = build_cache(*o.session, options.config, o.data, *o.cache, *o.group, [](const std::string&) { return false; });
  if (first)
    for (const std::string& notice : done.notices) tell("notice: " + notice);
  const double entries = o.group->sum_on_hosts(static_cast<double>(done.entries), "entries"), bytes = o.group->sum_on_hosts(static_cast<double>(done.bytes), "bytes");
  if (first && entries > 0) say(fmt::format("{} encoded, {}", of_entries(static_cast<uint64_t>(entries)), bytes_text(static_cast<uint64_t>(bytes))));
  if (done.stopped) {
    if (first) tell("stopped; the same command goes on from here");
    return static_cast<int>(Exit::preempted);
  }
  // What still is not there is of samples that are left out under data.on_error: skip.
  size_t missing = 0;
  for (const auto& [kind, needs] : o.cache->needs) missing += o.cache->missing(kind).size();
  if (first && missing) tell(fmt::format("notice: {} of pictures that cannot be read {} left out", of_entries(missing), missing == 1 ? "is" : "are"));
  return 0;
}

int gc(const CacheOptions& options, Path folder) {
  uint64_t freed = 0;
  if (options.for_config) {
    Opened o = open_for(options);
    if (!o.cache) return static_cast<int>(Exit::preempted);
    folder = o.cache->folder;
    std::set<std::string> needed;
    for (const auto& [kind, needs] : o.cache->needs)
      for (const CacheNeed& need : needs) needed.insert(need.key);
    const CacheChange gone = remove_entries(folder, [&](const CacheEntry& e) { return !needed.contains(e.key); }, options.dry_run);
    tell_change(gone);
    freed = gone.freed_bytes;
    say(fmt::format("{} of other configurations {} taken out, {}", of_entries(gone.entries),
                    options.dry_run ? "would be" : gone.entries == 1 ? "was" : "were", bytes_text(gone.bytes)));
  } else {
    open_existing(folder);
  }
  const CacheChange change = collect_garbage(folder, options.dry_run);
  if (!options.for_config) tell_change(change);
  say(fmt::format("{}: {} {} given back to the disk, {} {} written anew", folder.string(), bytes_text(freed + change.freed_bytes), options.dry_run ? "would be" : "were",
                  counted(change.segments_written, "file"), options.dry_run ? "would be" : "were"));
  return 0;
}

}  // namespace

int cache_command(const CacheOptions& options) {
  if (options.action == "build") return build(options);
  const Path folder = cache_folder(options.config);
  if (options.action == "list") return list(options, folder);
  if (options.action == "verify") return verify(options, folder);
  if (options.action == "rm") return rm(options, folder);
  return gc(options, folder);
}

}  // namespace t2i
