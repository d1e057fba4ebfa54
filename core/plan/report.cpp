#include "core/plan/report.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/number_text.h"

namespace t2i {
namespace {

std::string millions(int64_t n) { return fmt::format("{:.2f} M", static_cast<double>(n) / 1e6); }
double share(int64_t part, int64_t whole) { return whole ? static_cast<double>(part) / static_cast<double>(whole) : 0; }
std::string line(const std::string& name, const std::string& value) { return fmt::format("{:<11} {}\n", name, value); }

std::string reason(const LeftOut& one) {
  Error why = one.why;
  why.todo.clear();
  return to_string(why);
}

std::string data_lines(const Plan& p) {
  const DataPlan& d = p.data;
  std::string text = line("data", fmt::format("{} samples, {} pictures, at {} x {} pixels", grouped(static_cast<uint64_t>(d.rows)),
                                              grouped(static_cast<uint64_t>(d.pictures)), p.resolution, p.resolution));
  constexpr size_t shown = 5;
  if (!d.left_out.empty()) text += line("", fmt::format("{} of them cannot be used:", d.left_out.size()));
  for (size_t i = 0; i < std::min(shown, d.left_out.size()); ++i) text += line("", "  " + reason(d.left_out[i]));
  if (d.left_out.size() > shown) text += line("", fmt::format("  and {} more", d.left_out.size() - shown));
  if (d.enlarged) text += line("", fmt::format("{} pictures are smaller than that and will be enlarged", d.enlarged));
  for (const std::string& notice : d.notices) text += line("", notice);
  return text;
}

}  // namespace

int64_t Plan::parameters() const {
  int64_t n = 0;
  for (const PartHeld& part : memory.rehearsal.parts)
    if (part.role == "denoiser" || part.trained) n += part.parameters;
  return n;
}

int64_t Plan::trained() const {
  int64_t n = 0;
  for (const PartHeld& part : memory.rehearsal.parts) n += part.trained;
  return n;
}

std::string plan_text(const Plan& p) {
  std::string text = line("model", fmt::format("{}, task {}, loss {}", p.model, p.task, p.loss));
  text += line("parameters", fmt::format("{}, {} trained ({:.2f} %)", millions(p.parameters()), millions(p.trained()),
                                         100 * share(p.trained(), p.parameters())));
  text += data_lines(p);
  text += line("steps", fmt::format("{} of {} samples, {:.1f} an epoch: {} pictures seen, {:.2f} epochs", grouped(static_cast<uint64_t>(p.steps)),
                                    p.samples_a_step, p.steps_per_epoch(), grouped(static_cast<uint64_t>(p.steps * p.samples_a_step)),
                                    static_cast<double>(p.steps) / p.steps_per_epoch()));
  text += line("memory", fmt::format("{} at most, {} there ({})", bytes_text(p.memory.needed), bytes_text(p.memory_there),
                                     p.device == "cuda" ? "GPU" : "RSS"));
  for (const MemoryShare& s : p.memory.shares) text += line("", fmt::format("  {:<40} {:>10}", s.what, bytes_text(s.bytes)));
  text += line("", p.memory.blocks);
  const SpaceNeeded& disk = p.memory.rehearsal.space;
  text += line("disk", fmt::format("{} at most: {} checkpoints of {} at once, final/ of {}; {} free", bytes_text(disk.all), disk.checkpoints,
                                   bytes_text(disk.each), bytes_text(disk.final_folder), bytes_text(p.disk_free)));
  return text;
}

Json plan_json(const Plan& p) {
  const Rehearsal& r = p.memory.rehearsal;
  Json shares = Json::array(), parts = Json::array(), blocks = Json::array(), sizes = Json::object(), left_out = Json::array();
  for (const MemoryShare& s : p.memory.shares) shares.push_back({{"what", s.what}, {"bytes", s.bytes}});
  for (const PartHeld& part : r.parts)
    parts.push_back({{"part", part.part}, {"role", part.role}, {"dtype", part.dtype}, {"parameters", part.parameters}, {"trained", part.trained},
                     {"bytes", part.bytes}});
  for (size_t i = 0; i < r.blocks.size(); ++i)
    blocks.push_back({{"name", r.blocks[i].name}, {"bytes", r.blocks[i].bytes}, {"again", r.recompute.includes(static_cast<int64_t>(i))}});
  for (const auto& [size, count] : p.data.sizes) sizes[fmt::format("{}x{}", size.first, size.second)] = count;
  for (const LeftOut& one : p.data.left_out) left_out.push_back({{"where", one.where}, {"id", "T2I-" + one.why.id}, {"why", reason(one)}});
  return {{"model", p.model},
          {"task", p.task},
          {"loss", p.loss},
          {"parameters", {{"all", p.parameters()}, {"trained", p.trained()}, {"share", share(p.trained(), p.parameters())}}},
          {"data",
           {{"samples", p.data.rows},
            {"pictures", p.data.pictures},
            {"resolution", p.resolution},
            {"sizes", sizes},
            {"enlarged", p.data.enlarged},
            {"left_out", left_out},
            {"notices", p.data.notices}}},
          {"steps",
           {{"all", p.steps},
            {"per_epoch", p.steps_per_epoch()},
            {"samples_a_step", p.samples_a_step},
            {"pictures_seen", p.steps * p.samples_a_step},
            {"processes", p.processes}}},
          {"memory",
           {{"device", p.device},
            {"peak_bytes", p.memory.all},
            {"needed_bytes", p.memory.needed},
            {"there_bytes", p.memory_there},
            {"shares", shares},
            {"parts", parts},
            {"gradients_bytes", r.gradients},
            {"optimizer_bytes", r.optimizer},
            {"average_bytes", r.average},
            {"encoding_bytes", r.encoding},
            {"step_bytes", r.step},
            {"pictures_bytes", r.pictures},
            {"blocks", blocks}}},
          {"disk",
           {{"needed_bytes", r.space.all},
            {"checkpoints", r.space.checkpoints},
            {"checkpoint_bytes", r.space.each},
            {"final_bytes", r.space.final_folder},
            {"free_bytes", p.disk_free}}},
          {"computed", r.computed}};
}

}  // namespace t2i
