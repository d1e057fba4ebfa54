// The engine brings LibTorch, which takes a fifth of a second and a hundred megabytes: it is loaded when a command
// needs tensors, and never unloaded, because a library that has started threads cannot be.
#include <boost/dll/runtime_symbol_info.hpp>
#include <boost/dll/shared_library.hpp>

#include <cstdlib>

#include "apps/t2i/command.h"
#include "core/base/error.h"

namespace t2i {

int call_engine(const char* command, const void* options) {
  using Door = int(const char*, const void*);
  namespace dll = boost::dll;
  boost::filesystem::path file = dll::program_location().parent_path() / ".." / "lib" / "libt2i_engine.so";
  file = file.lexically_normal();
  if (!boost::filesystem::exists(file))
    fail({file.string(), "the engine is not there", "bin/t2i looks for it in ../lib", "build or install t2i again",
          "E2090", Exit::missing});
  // OpenMP's threads wait for each other by spinning, by default for milliseconds: on a machine that others use too, a
  // step then takes twenty times as long. 2,000 turns (about 30 µs) cost an idle machine nothing that can be measured.
  if (!std::getenv("OMP_WAIT_POLICY")) setenv("GOMP_SPINCOUNT", "2000", /*overwrite=*/0);
  try {
    auto* engine = new dll::shared_library(file, dll::load_mode::rtld_now | dll::load_mode::rtld_global);
    return engine->get<Door>("t2i_engine_command")(command, options);
  } catch (const boost::system::system_error& e) {
    fail({file.string(), "the engine cannot be loaded", e.what(),
          "build or install t2i again, with the LibTorch it was built with", "E2090", Exit::failed});
  }
}

}  // namespace t2i
