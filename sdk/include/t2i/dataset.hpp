// Plugins that read tables of data sets (kind "dataset" of plugin.h) in C++:
//
//   struct Files {
//     Files(const t2i::Json& config, std::span<const char* const> files);
//     const char* describe() const;                                   // the columns, plugin.h
//     void read(uint64_t row, uint32_t column, t2i::CellSink out);    // any thread
//   };
//   T2I_PLUGIN("org.example.tables", "1.0.0", "MIT", t2i::dataset<Files>("tables", "one sentence", "ending other_ending"))
#pragma once
#include "t2i/t2i.hpp"

namespace t2i __attribute__((visibility("hidden"))) {

// A cell of a data set's table, handed out once for each read(). What it points to is copied.
struct CellSink {
  const t2i_cell_sink* s;
  void put(std::string_view bytes, const char* name = nullptr) const {
    const t2i_cell cell{bytes.data() ? bytes.data() : "", bytes.size(), name};
    check(s->put(s->ctx, &cell));
  }
  void put_empty() const {
    const t2i_cell cell{};
    check(s->put(s->ctx, &cell));
  }
};

namespace detail {

// A reader T(config, files) with describe() and read(row, column, CellSink), and T::Writer(config, file, columns) with
// append(cells) and finish() where it writes too.
template <class T>
constexpr t2i_dataset dataset_vtable() {
  t2i_dataset table{
      sizeof(t2i_dataset),
      [](const char* config, const char* const* files, uint32_t n, void** out) {
        return guard([&] { *out = new T(Json::parse(config), std::span<const char* const>(files, n)); });
      },
      [](void* p) { delete static_cast<T*>(p); },
      [](void* p, const char** json) { return guard([&] { *json = self<T>(p).describe(); }); },
      [](void* p, uint64_t row, uint32_t column, const t2i_cell_sink* out) { return guard([&] { self<T>(p).read(row, column, CellSink{out}); }); },
      nullptr, nullptr, nullptr, nullptr};
  if constexpr (requires { typename T::Writer; }) {
    using Writer = typename T::Writer;
    table.create = [](const char* config, const char* file, const char* columns, void** out) {
      return guard([&] { *out = new Writer(Json::parse(config), file, Json::parse(columns)); });
    };
    table.append = [](void* p, const t2i_cell* cells, uint32_t n) { return guard([&] { self<Writer>(p).append(std::span<const t2i_cell>(cells, n)); }); };
    table.finish = [](void* p) { return guard([&] { self<Writer>(p).finish(); }); };
    table.discard = [](void* p) { delete static_cast<Writer*>(p); };
  }
  return table;
}
template <class T>
inline constexpr t2i_dataset dataset_table = dataset_vtable<T>();

}  // namespace detail

template <class T>
consteval t2i_component dataset(const char* id, const char* doc, const char* opens, const char* schema = "{}") {
  return {sizeof(t2i_component), "dataset", id, doc, schema, &detail::dataset_table<T>, opens};
}

}  // namespace )
