#include "core/publish/wandb.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/json.h"

namespace t2i {

std::string_view publish_file(std::string_view name);

namespace {

constexpr double patience_at_start_seconds = 90;

bool has_wandb(const std::string& python) {
  Child child({python, "-c", "import importlib.util, sys; sys.exit(0 if importlib.util.find_spec('wandb') else 9)"});
  std::vector<std::string> heard;
  return child.wait(30, heard) == 0;
}

// "#!/home/me/tools/bin/python" of the program wandb; empty where there is none or it is started in another way.
std::string python_of_wandb() {
  const Path program = find_program("wandb");
  if (program.empty()) return "";
  Result<std::string> text = read_file(program, 1 << 20);
  if (!text || !text->starts_with("#!/")) return "";
  const std::string python = text->substr(2, text->find('\n') - 2);
  return python.find(' ') == python.npos ? find_program(python).string() : "";
}

std::string find_python() {
  for (const std::string& python : {find_program("python3").string(), python_of_wandb()})
    if (!python.empty() && has_wandb(python)) return python;
  fail({"report_to", "wandb is asked for and its client is not installed", "Neither python3 nor the program wandb on PATH leads to a Python that has it",
        "pip install wandb, or take wandb out of report_to", "E8010", Exit::missing});
}

}  // namespace

WandbFeed::WandbFeed(const Config& config) : output_(config.output) {
  Json settings = {{"run", config.output},
                   {"log_every", std::max<int64_t>(config.train.log_every_steps, 1)},
                   {"project", config.wandb.project},
                   {"entity", config.wandb.entity},
                   {"name", config.wandb.run_name},
                   {"config", Json(to_json(config))}};
  child_ = std::make_unique<Child>(std::vector<std::string>{find_python(), "-c", std::string(publish_file("wandb_feed.py")),
                                                            settings.dump(-1, ' ', false, Json::error_handler_t::replace)});
}

// Our own script's words are acted on; what the client says besides is shown as it is.
std::vector<std::string> WandbFeed::told(const std::vector<std::string>& heard) {
  std::vector<std::string> out;
  for (const std::string& line : heard) {
    const size_t space = line.find(' ');
    const std::string word = line.substr(0, space), rest = space == line.npos ? "" : line.substr(space + 1);
    if (word == "t2i-ready") where_ = rest;
    else if (word == "t2i-finished") finished_ = true;
    else if (word == "t2i-failed") last_failure_ = rest;
    else if (word == "t2i-say") out.push_back("warning: wandb: " + rest);
    else if (!line.empty()) out.push_back(line.starts_with("wandb: ") ? line : "wandb: " + line);
  }
  return out;
}

std::string WandbFeed::wait_until_ready(const std::function<bool()>& stop) {
  std::vector<std::string> others;
  for (double waited = 0; where_.empty() && waited < patience_at_start_seconds; waited += 0.2) {
    std::vector<std::string> heard;
    const bool over = child_->wait(0.2, heard, stop).has_value();
    for (std::string& line : told(heard)) others.push_back(std::move(line));
    if (over && where_.empty())
      fail({"wandb", "its client did not begin a run", !last_failure_.empty() ? last_failure_ : others.empty() ? "It ended without a word" : others.back(),
            "wandb login; or set WANDB_MODE=offline and upload later; or take wandb out of report_to", "E8011", Exit::failed});
    if (stop && stop()) return "";
  }
  return where_.empty() ? "warning: wandb has not begun its run yet; it is given what there is when it has" : "wandb: " + where_;
}

void WandbFeed::begin() { child_->say("begin\n"); }

std::vector<std::string> WandbFeed::lines() {
  std::vector<std::string> out = told(child_->lines());
  if (!lost_ && child_->ended() && !finished_) {
    lost_ = true;
    out.push_back(fmt::format("warning: wandb's client has ended{}; the run goes on without it", last_failure_.empty() ? "" : ": " + last_failure_));
  }
  return out;
}

std::string WandbFeed::finish(const std::string& word, double patience_seconds, const std::function<bool()>& stop) {
  child_->say(word + "\n");
  child_->close_input();
  std::vector<std::string> heard;
  child_->wait(patience_seconds, heard, stop);
  told(heard);
  told(child_->lines());
  if (finished_) return "";
  return fmt::format("warning: wandb: not everything was handed over{}. → wandb sync {}", last_failure_.empty() ? "" : " (" + last_failure_ + ")",
                     (Path(output_) / "wandb" / "*run-*").string());
}

}  // namespace t2i
