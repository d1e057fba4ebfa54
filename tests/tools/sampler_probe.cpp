// Runs samplers on a fixed linear "network", for comparison with the published schedulers:
//     sampler_probe CASES.json IN.safetensors OUT.safetensors
// CASES: a list of {"id", "config": {…scheduler_config.json…}, "sampler", "steps", "image_tokens", "ends_at_step", "a", "b"}. IN holds
// "latents", "offset" and "noise" [evaluations, …shape of latents]. The network answers a·x + b·t/1000 + offset.
// OUT gets per case "ID.trajectory" (x after each evaluation), "ID.timesteps" and "ID.init_noise_sigma". A case that
// is refused is printed instead, as a line of JSON {"id", "error"}.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <cstdio>
#include <map>

#include "core/base/json.h"
#include "core/checkpoint/safetensors.h"
#include "core/generate/sampler.h"
#include "core/model/load.h"

namespace {

using namespace t2i;

at::Tensor input(const SafetensorsFile& file, const char* name) {
  const TensorEntry* entry = file.find(name);
  if (!entry) fail({file.path, "has no tensor '" + std::string(name) + "'", "", "add it", "E6008", Exit::bad_data});
  return stored_tensor(*entry);
}

struct Network {
  double a = 0, b = 0;
  at::Tensor offset;
  at::Tensor operator()(const at::Tensor& x, double t) const { return a * x + b * (t / 1000) + offset; }
};

void run_case(const Json& item, const SafetensorsFile& in, std::map<std::string, at::Tensor>& out) {
  std::string id = item["id"];
  SamplerOptions options{item["steps"], item["image_tokens"], item["ends_at_step"]};
  std::unique_ptr<Sampler> sampler = make_sampler(item["sampler"], SchedulerFile(item["config"], "scheduler_config.json"), options);
  Network network{item["a"], item["b"], input(in, "offset")};
  at::Tensor all_noise = input(in, "noise");
  NoiseSource noise = [&](int64_t i) { return all_noise[i]; };

  at::Tensor x = input(in, "latents") * sampler->init_noise_sigma();
  std::vector<at::Tensor> trajectory;
  const std::vector<double>& timesteps = sampler->timesteps();
  for (size_t i = 0; i < timesteps.size(); ++i) {
    auto at = static_cast<int64_t>(i);
    x = sampler->step(network(sampler->scale_input(x, at), timesteps[i]), x, at, noise);
    trajectory.push_back(x);
  }
  out[id + ".trajectory"] = at::stack(trajectory).contiguous();
  out[id + ".timesteps"] = at::tensor(at::ArrayRef<double>(timesteps), at::kDouble).to(at::kFloat);
  out[id + ".init_noise_sigma"] = at::scalar_tensor(sampler->init_noise_sigma(), at::kFloat);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 64;
  c10::InferenceMode no_gradients;
  try {
    Json cases = read_json(argv[1]).take();
    SafetensorsFile in = open_safetensors(argv[2]).take();
    std::map<std::string, at::Tensor> out;
    for (const Json& item : cases) {
      try {
        run_case(item, in, out);
      } catch (const Failure& refused) {
        std::printf("%s\n", Json{{"id", item["id"]}, {"error", refused.what()}}.dump().c_str());
      }
    }
    std::vector<TensorSource> sources;
    for (const auto& [name, tensor] : out) sources.push_back(tensor_source(name, tensor));
    write_safetensors(argv[3], sources);
  } catch (const Failure& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return static_cast<int>(failure.exit());
  }
  return 0;
}
