# find_package(t2i): t2i::sdk (headers), t2i::nn (the parts that model families share) and t2i_add_plugin().
# No torch is needed to build a plugin. t2i.hpp uses nlohmann-json's header.
get_filename_component(T2I_PREFIX "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
find_path(T2I_JSON_INCLUDE nlohmann/json.hpp)
if(NOT T2I_JSON_INCLUDE)
  message(FATAL_ERROR "t2i's SDK needs nlohmann-json. Install it, on Debian and Ubuntu: apt install nlohmann-json3-dev")
endif()
if(NOT TARGET t2i::sdk)
  add_library(t2i::sdk INTERFACE IMPORTED)
  target_include_directories(t2i::sdk INTERFACE "${T2I_PREFIX}/include" "${T2I_JSON_INCLUDE}")
endif()
if(EXISTS "${T2I_PREFIX}/lib/libt2i_nn.a" AND NOT TARGET t2i::nn)
  add_library(t2i::nn STATIC IMPORTED)
  set_target_properties(t2i::nn PROPERTIES IMPORTED_LOCATION "${T2I_PREFIX}/lib/libt2i_nn.a")
  target_include_directories(t2i::nn INTERFACE "${T2I_PREFIX}/include/t2i")  # as <nn/...>
  find_library(T2I_UTF8PROC utf8proc)
  target_link_libraries(t2i::nn INTERFACE t2i::sdk $<$<BOOL:${T2I_UTF8PROC}>:${T2I_UTF8PROC}>)
endif()
include("${CMAKE_CURRENT_LIST_DIR}/t2i_add_plugin.cmake")
