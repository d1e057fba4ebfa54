# t2i_add_plugin(NAME SOURCE...): one shared library t2i-NAME.so that exports t2i_plugin_v1 and nothing else.
# The same function serves the built-in plugins and, through the installed package, everyone's.
set(T2I_PLUGIN_EXPORTS "${CMAKE_CURRENT_LIST_DIR}/plugin.exports")
function(t2i_add_plugin name)
  add_library(t2i-${name} MODULE ${ARGN})
  target_link_libraries(t2i-${name} PRIVATE t2i::sdk)
  set_target_properties(t2i-${name} PROPERTIES PREFIX "" CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS OFF
    POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    LINK_DEPENDS "${T2I_PLUGIN_EXPORTS}")
  # The version script hides what clang would still export; -fno-gnu-unique keeps the library free of process-wide symbols.
  target_compile_options(t2i-${name} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fno-gnu-unique>)
  target_link_options(t2i-${name} PRIVATE "-Wl,--version-script=${T2I_PLUGIN_EXPORTS}" -Wl,--no-undefined)
  set_property(GLOBAL APPEND PROPERTY T2I_PLUGIN_TARGETS t2i-${name})
  if(T2I_PLUGIN_OUTPUT_DIR)
    set_target_properties(t2i-${name} PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${T2I_PLUGIN_OUTPUT_DIR}")
  endif()
endfunction()
