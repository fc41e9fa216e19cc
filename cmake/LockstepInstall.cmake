# SPDX-License-Identifier: Apache-2.0
# Installs the modules (GLOBAL property LOCKSTEP_MODULES), their public headers, the `lockstep` command, and the package
# files with which another project says find_package(lockstep). Included last, when all modules are known.
if(NOT PROJECT_IS_TOP_LEVEL)
  return()  # who embeds us links our targets; what is installed is for them to say
endif()
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)
set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/lockstep")

get_property(modules GLOBAL PROPERTY LOCKSTEP_MODULES)
install(TARGETS ${modules} EXPORT lockstep_targets ARCHIVE FILE_SET HEADERS)
if(LOCKSTEP_WITH_GPU)
  install(TARGETS lockstep_gpu LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
endif()
install(TARGETS lockstep_command lockstep_ckpt_command lockstep_data_command RUNTIME)
install(EXPORT lockstep_targets NAMESPACE lockstep:: FILE lockstepTargets.cmake DESTINATION "${package_dir}")

string(REGEX MATCH "^[0-9.]+" libtorch_version "${LibTorch_VERSION}")  # 2.11.0 of 2.11.0+cu130
configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/lockstepConfig.cmake.in"
  "${CMAKE_BINARY_DIR}/lockstepConfig.cmake" INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file("${CMAKE_BINARY_DIR}/lockstepConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_BINARY_DIR}/lockstepConfig.cmake" "${CMAKE_BINARY_DIR}/lockstepConfigVersion.cmake"
  "${CMAKE_CURRENT_LIST_DIR}/FindLibTorch.cmake" "${CMAKE_CURRENT_LIST_DIR}/FindHDF5Serial.cmake"
  DESTINATION "${package_dir}")
