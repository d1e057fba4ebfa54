// A loss without a fault, for the broken plugins of this folder to spoil in one place each.
#pragma once
#include <t2i/schedule.hpp>

struct Good {
  t2i::DiscreteSchedule schedule;
  Good(const t2i::Json&, const t2i::Json& context) : schedule(context) {}
  void draw(t2i::Named in, t2i::Sink out) { out.put("timesteps", schedule.draw(in)); }
  void prepare(t2i::Named in, t2i::Sink out) {
    out.put("noisy", schedule.add_noise(in));
    out.put("target", in["noise"]);
  }
  void compute(t2i::Named in, t2i::Sink out) { out.put("loss_per_sample", t2i::squared_error(in["prediction"], in["target"])); }
};

// The table of Good's functions, changed by `spoil`.
template <class Spoil>
constexpr t2i_loss spoiled(Spoil spoil) {
  t2i_loss table = t2i::detail::loss_vtable<Good>;
  spoil(table);
  return table;
}
constexpr t2i_component component(const char* id, const t2i_loss& table, const char* schema = "{}") {
  return {sizeof(t2i_component), "loss", id, "a broken loss", schema, &table, nullptr};
}
