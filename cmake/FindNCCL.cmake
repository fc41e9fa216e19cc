# SPDX-License-Identifier: Apache-2.0
# Finds NCCL: of the wheel beside LibTorch, which loads it itself, else of the CUDA toolkit in CUDA_HOME or
# /usr/local/cuda. After find_package(LibTorch). Defines NCCL::nccl, NCCL_VERSION (of its header), NCCL_INCLUDE_DIR.
get_filename_component(_nccl_wheel "${LibTorch_DIR_FOUND}/../nvidia/nccl" REALPATH)
set(_nccl_dirs "${_nccl_wheel}" $ENV{CUDA_HOME} /usr/local/cuda)
find_path(NCCL_INCLUDE_DIR nccl.h PATHS ${_nccl_dirs} PATH_SUFFIXES include NO_DEFAULT_PATH)
find_library(NCCL_LIBRARY NAMES libnccl.so.2 PATHS ${_nccl_dirs} PATH_SUFFIXES lib lib64 NO_DEFAULT_PATH)
mark_as_advanced(NCCL_INCLUDE_DIR NCCL_LIBRARY)

if(NCCL_INCLUDE_DIR)
  file(STRINGS "${NCCL_INCLUDE_DIR}/nccl.h" _lines REGEX "^#define NCCL_(MAJOR|MINOR|PATCH) ")
  string(REGEX REPLACE "[^0-9]*([0-9]+)[^0-9]+([0-9]+)[^0-9]+([0-9]+).*" "\\1.\\2.\\3" NCCL_VERSION "${_lines}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(NCCL REQUIRED_VARS NCCL_LIBRARY NCCL_INCLUDE_DIR VERSION_VAR NCCL_VERSION)

if(NCCL_FOUND AND NOT TARGET NCCL::nccl)
  add_library(NCCL::nccl SHARED IMPORTED)
  set_target_properties(NCCL::nccl PROPERTIES IMPORTED_LOCATION "${NCCL_LIBRARY}")
  target_include_directories(NCCL::nccl INTERFACE "${NCCL_INCLUDE_DIR}")
endif()
