# t2i::torch: LibTorch from the PyPI wheel, linked by hand.
# The wheel carries its own fmt and protobuf headers; -idirafter keeps Debian's first (docs: ecosystem).
set(T2I_PYTHON "${CMAKE_SOURCE_DIR}/.venv/bin/python" CACHE FILEPATH "Python of the environment that holds the torch wheel")
execute_process(
  COMMAND ${T2I_PYTHON} -c "import importlib.util as u, importlib.metadata as m, os; print(os.path.dirname(u.find_spec('torch').origin)); print(m.version('torch'))"
  OUTPUT_VARIABLE torch_lines RESULT_VARIABLE torch_missing OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(torch_missing)
  message(FATAL_ERROR "torch is not installed in ${T2I_PYTHON}'s environment. Run ./quickstart --build, which installs torch==2.11.0 into .venv.")
endif()
string(REPLACE "\n" ";" torch_lines "${torch_lines}")
list(GET torch_lines 0 T2I_TORCH_DIR)
list(GET torch_lines 1 T2I_TORCH_WHEEL_VERSION)
get_filename_component(T2I_SITE_PACKAGES "${T2I_TORCH_DIR}" DIRECTORY)
add_library(t2i_torch INTERFACE)
add_library(t2i::torch ALIAS t2i_torch)
target_compile_options(t2i_torch INTERFACE
  "SHELL:-idirafter ${T2I_TORCH_DIR}/include" "SHELL:-idirafter ${T2I_TORCH_DIR}/include/torch/csrc/api/include"
  -DUSE_C10D_GLOO -DUSE_DISTRIBUTED)
target_link_options(t2i_torch INTERFACE "-Wl,-rpath,${T2I_TORCH_DIR}/lib")
target_link_libraries(t2i_torch INTERFACE
  "${T2I_TORCH_DIR}/lib/libtorch_cpu.so" "${T2I_TORCH_DIR}/lib/libc10.so")
