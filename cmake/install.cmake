# `cmake --install`: bin/t2i, lib/libt2i_engine.so, lib/t2i/*.so, and what strangers build against: include/t2i,
# lib/libt2i_nn.a, lib/cmake/t2i. Everything finds everything by relative paths, so the tree can be moved; LibTorch is
# found where it was built against (the wheel's folder), or in lib/ beside the engine when somebody put it there.
set_target_properties(t2i_engine PROPERTIES INSTALL_RPATH "$ORIGIN;${T2I_TORCH_DIR}/lib")
get_property(plugin_targets GLOBAL PROPERTY T2I_PLUGIN_TARGETS)
install(TARGETS t2i RUNTIME DESTINATION bin)
install(TARGETS t2i_engine LIBRARY DESTINATION lib)
if(TARGET t2i_cuda)
  set_target_properties(t2i_cuda PROPERTIES INSTALL_RPATH "$ORIGIN;${T2I_TORCH_DIR}/lib;${T2I_SITE_PACKAGES}/nvidia/cu13/lib")
  install(TARGETS t2i_cuda LIBRARY DESTINATION lib)
endif()
install(TARGETS ${plugin_targets} LIBRARY DESTINATION lib/t2i)
install(DIRECTORY presets DESTINATION share/t2i)
install(DIRECTORY sdk/include/t2i DESTINATION include FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp" PATTERN "README.md")
install(FILES sdk/NAMES.md DESTINATION include/t2i)
install(DIRECTORY sdk/nn DESTINATION include/t2i FILES_MATCHING PATTERN "*.hpp")
if(TARGET t2i_nn)
  install(TARGETS t2i_nn ARCHIVE DESTINATION lib)
endif()
include(CMakePackageConfigHelpers)
write_basic_package_version_file("${CMAKE_BINARY_DIR}/t2iConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES cmake/t2iConfig.cmake cmake/t2i_add_plugin.cmake cmake/plugin.exports "${CMAKE_BINARY_DIR}/t2iConfigVersion.cmake"
  DESTINATION lib/cmake/t2i)
