#include "core/plug/model.h"

#include <ATen/ATen.h>

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "core/model/block_swap.h"
#include "core/model/offload.h"
#include "core/plug/call.h"

namespace t2i {

// A plugin tells each problem of a folder's files in a line that begins with the name of file or folder and may end with
// what to do: that is the place and the advice of a message of its own. `shown` gives the name as the user knows it,
// nothing where it is none.
static std::vector<Error> told_by_file(const Error& all, const std::function<std::optional<std::string>(const std::string&)>& shown) {
  std::vector<Error> errors;
  for (size_t at = 0; at < all.what.size();) {
    const size_t end = std::min(all.what.find('\n', at), all.what.size());
    Error one = all;
    one.what = all.what.substr(at, end - at);
    at = end + 1;
    if (const size_t colon = one.what.find(": "); colon != one.what.npos)
      if (const std::optional<std::string> place = shown(one.what.substr(0, colon))) {
        one.where = *place;
        one.what = one.what.substr(colon + 2);
      }
    const std::string arrow = " → ";
    if (size_t todo = one.what.find(arrow); todo != one.what.npos) {
      one.todo = one.what.substr(todo + arrow.size());
      if (one.todo.ends_with('.')) one.todo.pop_back();
      one.what = one.what.substr(0, todo);
    }
    if (one.what.ends_with('.')) one.what.pop_back();
    errors.push_back(std::move(one));
  }
  return errors;
}

// Parts from elsewhere are read there.
static AssetFolder assets_of(const ModelFolder& folder) {
  std::map<std::string, Path> elsewhere;
  for (const ModelPart& part : folder.parts)
    if (!part.given.empty()) elsewhere[part.name] = part.folder;
  return AssetFolder(folder.root, std::move(elsewhere));
}

Model::Model(const Component& component, const ModelFolder& folder, const Json& options)
    : component_(component), where_(folder.asked), assets_(assets_of(folder)) {
  config_ = {{"parts", Json::object()},     {"classes", Json::object()}, {"files", Json::object()},
             {"scheduler", Json::object()}, {"options", options},        {"index", folder.index}};
  for (const ModelPart& part : folder.parts) {
    config_["classes"][part.name] = part.class_name;
    if (!part.given.empty()) config_["files"][part.name] = part.given + "/" + part.config_path.filename().string();
    if (part.name == "scheduler") config_["scheduler"] = part.config;
    if (part.config.is_null()) continue;
    Json& own = config_["parts"][part.name] = part.config;
    if (!own.contains("quantization_config")) continue;
    quantization_[part.name] = own["quantization_config"];  // how its files are packed is no matter of the network
    own.erase("quantization_config");
  }
  create();
}

void Model::make_room(int64_t added_latents) {
  if (!about_.contains("first_layer")) {
    if (added_latents)
      fail({who("describe"), "has no first_layer, so the task's added latents find no place", "", "choose another task", "E2034", Exit::config});
    return;
  }
  const Json first = about_["first_layer"];
  int64_t wanted = latent_channels() * (1 + added_latents), has = first["channels"];
  if (has == wanted) return;
  std::string part = first["part"];
  if (has != latent_channels())
    fail({where_first_.empty() ? where_ + "/" + part + "/config.json" : where_first_, fmt::format("the first layer takes {} channels; this task needs {}", has, wanted), "",
          has > wanted ? "choose the task that this model was made for" : "start from a model for text alone", "E2035", Exit::bad_data});
  Json& own = config_["parts"][part];
  if (const Json more = first.value("config", Json::object()); !more.empty()) own.update(more);
  own[first["config_key"].get<std::string>()] = wanted * first.value("per_channel", int64_t{1});
  widened_ = first["weight"];
  create();
}

void Model::set_first_inputs(int64_t inputs, const std::string& where) {
  const Json first = about_.value("first_layer", Json::object());
  if (first.empty()) return;
  where_first_ = where;
  if (first["channels"].get<int64_t>() * first.value("per_channel", int64_t{1}) == inputs) return;
  Json& own = config_["parts"][first["part"].get<std::string>()];
  if (const Json more = first.value("config", Json::object()); !more.empty()) own.update(more);
  own[first["config_key"].get<std::string>()] = inputs;
  create();
}

FileNames Model::file_names() const {
  const t2i_model* m = &api();
  if (!T2I_HAS(m, file_names)) return {};
  const char* text = nullptr;
  check(m->file_names(self_, &text), who("file_names"));
  return parse_file_names(parse_json(text, who("file_names")).take(), who("file_names")).take();
}

std::vector<NamedShape> Model::declared(const std::string& part) const {
  void* other = nullptr;
  check(api().create(config_.dump().c_str(), &assets_, &other), who("create"));
  std::unique_ptr<void, void (*)(void*)> gone(other, api().destroy);
  ParamStore store(part);
  check(api().build(other, part.c_str(), &store), who("build") + " '" + part + "'");
  std::vector<NamedShape> list;
  for (const Parameter& p : store.parameters) list.push_back({p.name, p.shape});
  return list;
}

Model::~Model() {
  if (self_) api().destroy(self_);
}

void Model::create() {
  if (self_) api().destroy(std::exchange(self_, nullptr));
  try {
    check(api().create(config_.dump().c_str(), &assets_, &self_), who("create"));
  } catch (const Failure& failure) {
    throw Failure(told_by_file(failure.errors.front(), [this](const std::string& name) { return shown(name); }));
  }
  const char* text = nullptr;
  check(api().describe(self_, &text), who("describe"));
  about_ = parse_json(text, who("describe")).take();
}

// "tokenizer", "unet/config.json": below the model's folder, unless it is of a part from elsewhere.
std::optional<std::string> Model::shown(const std::string& name) const {
  for (const Json& file : config_["files"]) {
    const Path folder = Path(file.get<std::string>()).parent_path();
    if (name == folder.string() || name.starts_with(folder.string() + "/")) return name;
  }
  const bool is_of_the_folder = name.ends_with(".json") || config_["index"].contains(name.substr(0, name.find('/')));
  return is_of_the_folder ? std::optional(where_ + "/" + name) : std::nullopt;
}

Json Model::configuration(const std::string& part) const {
  Json own = config_["parts"].value(part, Json::object());
  if (auto packed = quantization_.find(part); packed != quantization_.end()) own["quantization_config"] = packed->second;
  own.update(about_.value("config", Json::object()).value(part, Json::object()));
  return own;
}

std::vector<std::string> Model::parts(const std::string& role) const {
  std::vector<std::string> names;
  for (const auto& [name, part] : about_.at("parts").items())
    if (part.at("role") == role) names.push_back(name);
  return names;
}

std::string Model::denoiser() const {
  auto names = parts("denoiser");
  if (names.size() != 1) fail({who("describe"), "must name exactly one part of role denoiser", "", "", "E2034", Exit::bad_data});
  return names.front();
}

int64_t Model::latent_channels() const { return about_.at("latent").at("channels"); }
int64_t Model::downscale() const { return about_.at("latent").at("downscale"); }
int64_t Model::place_px() const { return downscale() * about_.at("latent").value("patch", int64_t{1}); }

int64_t Model::most_px() const { return about_.at("latent").value("most_places", int64_t{0}) * place_px(); }

std::optional<Error> Model::too_large(int64_t width, int64_t height, const std::string& where, Exit exit) const {
  const int64_t most = most_px();
  if (!most || std::max(width, height) <= most) return std::nullopt;
  return Error{where, fmt::format("{}x{} is more than the model has places for", width, height),
               fmt::format("It knows {} along a side, of {} pixels each", most / place_px(), place_px()), fmt::format("use at most {0}x{0}", most), "E2041", exit};
}

bool Model::flow_ends_at_step() const { return about_.value("flow_ends_at_step", false); }

int64_t Model::default_steps(const std::string& task) const {
  constexpr int64_t usual = 50;
  const Json said = about_.value("default_steps", Json(usual));
  return said.is_object() ? said.value(task, usual) : said.get<int64_t>();
}

at::Tensor Model::guidance(int64_t n, const char* when) const {
  const Json distilled = about_.value("distilled_guidance", Json::object());
  return distilled.contains(when) ? at::full({n}, distilled[when].get<double>(), at::kFloat) : at::Tensor();
}

ParamStore& Model::build(const std::string& part) {
  auto& slot = stores_[part];
  if (!slot) {
    slot = std::make_unique<ParamStore>(part);
    check(api().build(self_, part.c_str(), slot.get()), who("build") + " '" + part + "'");
  }
  return *slot;
}

ParamStore& Model::store(const std::string& part) { return const_cast<ParamStore&>(std::as_const(*this).store(part)); }

const ParamStore& Model::store(const std::string& part) const {
  auto it = stores_.find(part);
  if (it == stores_.end()) fail({who("store"), "part '" + part + "' is not loaded", "", "", "E2032", Exit::failed});
  return *it->second;
}

uint64_t Model::weight_bytes(const std::string& role) const {
  uint64_t bytes = 0;
  for (const std::string& part : parts(role))
    if (auto it = stores_.find(part); it != stores_.end()) bytes += it->second->weight_bytes();
  return bytes;
}

void Model::release(const std::string& role) {
  for (const std::string& part : parts(role))
    if (auto it = stores_.find(part); it != stores_.end()) it->second->release();
}

Tensors Model::forward(const Tensors& in) {
  for (auto& [part, store] : stores_) {
    store->blocks_met = 0;
    if (store->offload) store->offload->restart();
    if (store->swap) store->swap->forward_begins();
  }
  Tensors out = call_named(api().forward, self_, in, who("forward"));
  for (auto& [part, store] : stores_)
    if (store->swap) store->swap->forward_ends(*store);
  return out;
}

Tensors Model::tokenize(const std::vector<std::string>& texts, Tensors* left_out) {
  std::vector<const char*> pointers;
  for (const std::string& t : texts) pointers.push_back(t.c_str());
  auto function = [&](void* self, const t2i_named*, uint32_t, const t2i_sink* sink) {
    if (!api().tokenize) return set_last_error(T2I_E_UNSUPPORTED, "this model has no tokenizer");
    return api().tokenize(self, pointers.data(), static_cast<uint32_t>(pointers.size()), sink);
  };
  Tensors made, tokens;
  try {
    made = call_named(function, self_, {}, who("tokenize"));
  } catch (const Failure& failure) {
    throw Failure(told_by_file(failure.errors.front(), [this](const std::string& name) { return shown(name); }));
  }
  for (auto& [name, t] : made)
    if (!name.ends_with("_cut")) tokens[name] = t;
    else if (left_out) (*left_out)[name.substr(0, name.size() - 4)] = t;
  return tokens;
}

static void need(bool present, const std::string& who) {
  if (!present) fail({who, "this model does not have that function", "", "", "E2031", Exit::bad_data});
}

Tensors Model::encode_text(const Tensors& tokens) {
  need(api().encode_text, who("encode_text"));
  return call_named(api().encode_text, self_, tokens, who("encode_text"));
}

// A part in half precision takes its input in half precision; whoever asked need not know.
at::Tensor Model::as_held(const std::string& role, const at::Tensor& x) const {
  for (const std::string& part : parts(role))
    if (auto it = stores_.find(part); it != stores_.end() && it->second->frozen.defined())
      return x.to(it->second->frozen.scalar_type());
  return x;
}

Tensors Model::encode_image(const at::Tensor& pixels) {
  need(api().encode_image, who("encode_image"));
  return call_named(api().encode_image, self_, {{"pixels", as_held("vae", pixels)}}, who("encode_image"));
}

at::Tensor Model::decode_image(const at::Tensor& latents) {
  need(api().decode_image, who("decode_image"));
  return call_named(api().decode_image, self_, {{"latents", as_held("vae", latents)}}, who("decode_image"))["pixels"];
}

at::Tensor Model::scale_latents(const at::Tensor& sample) {
  need(api().scale_latents, who("scale_latents"));
  t2i_tensor out = nullptr;
  check(api().scale_latents(self_, borrow(sample), &out), who("scale_latents"));
  return take(out);
}

at::Tensor Model::source_latents(const at::Tensor& mode) {
  return about_.value("source_latents", "unscaled") == "scaled" ? scale_latents(mode) : mode;
}

}  // namespace t2i
