# SPDX-License-Identifier: Apache-2.0
# Finds the LibTorch of a `torch` wheel or of a LibTorch folder, without LibTorch's own package file (which fails where
# no CUDA toolkit is installed).
#
# Looks in LOCKSTEP_TORCH_DIR (CMake or environment variable: the folder that holds lib/ and include/), then in the
# .venv that cmake/bootstrap makes. Defines LibTorch::cpu (libtorch_cpu, libc10), LibTorch_VERSION, LibTorch_DIR_FOUND.
set(LOCKSTEP_TORCH_DIR "$ENV{LOCKSTEP_TORCH_DIR}" CACHE PATH "LibTorch folder to use (with lib/ and include/); empty: the one of .venv")
if(LOCKSTEP_TORCH_DIR)
  set(_torch_candidates "${LOCKSTEP_TORCH_DIR}")
else()
  file(GLOB _torch_candidates "${CMAKE_CURRENT_LIST_DIR}/../.venv/lib/python3*/site-packages/torch")
endif()
find_path(LibTorch_INCLUDE_DIR ATen/ATen.h PATHS ${_torch_candidates} PATH_SUFFIXES include NO_DEFAULT_PATH)
find_library(LibTorch_CPU_LIBRARY torch_cpu PATHS ${_torch_candidates} PATH_SUFFIXES lib NO_DEFAULT_PATH)
find_library(LibTorch_C10_LIBRARY c10 PATHS ${_torch_candidates} PATH_SUFFIXES lib NO_DEFAULT_PATH)
mark_as_advanced(LibTorch_INCLUDE_DIR LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY)

if(LibTorch_INCLUDE_DIR)
  get_filename_component(LibTorch_DIR_FOUND "${LibTorch_INCLUDE_DIR}" DIRECTORY)
  if(EXISTS "${LibTorch_DIR_FOUND}/version.py")  # read as text: `import torch` may lack its Python dependencies
    file(STRINGS "${LibTorch_DIR_FOUND}/version.py" _torch_line REGEX "^__version__ = ")
    string(REGEX REPLACE ".*'([^']+)'.*" "\\1" LibTorch_VERSION "${_torch_line}")
  elseif(EXISTS "${LibTorch_DIR_FOUND}/build-version")
    file(STRINGS "${LibTorch_DIR_FOUND}/build-version" LibTorch_VERSION LIMIT_COUNT 1)
  endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_INCLUDE_DIR
  VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "run cmake/bootstrap, or set LOCKSTEP_TORCH_DIR to a folder with LibTorch's lib/ and include/")

if(LibTorch_FOUND AND NOT TARGET LibTorch::cpu)
  add_library(LibTorch::c10 SHARED IMPORTED)
  set_target_properties(LibTorch::c10 PROPERTIES IMPORTED_LOCATION "${LibTorch_C10_LIBRARY}")
  add_library(LibTorch::cpu SHARED IMPORTED)
  set_target_properties(LibTorch::cpu PROPERTIES IMPORTED_LOCATION "${LibTorch_CPU_LIBRARY}")
  # After the system's folders: the wheel brings its own copy of fmt's headers, which must not hide the installed fmt.
  target_compile_options(LibTorch::cpu INTERFACE
    "SHELL:-idirafter ${LibTorch_INCLUDE_DIR}" "SHELL:-idirafter ${LibTorch_INCLUDE_DIR}/torch/csrc/api/include")
  target_link_libraries(LibTorch::cpu INTERFACE LibTorch::c10)
  # libtorch_cpu of a CUDA wheel needs libcudart and libcupti: they lie beside it or in the wheels' nvidia folders.
  file(GLOB _torch_runtime_dirs "${LibTorch_DIR_FOUND}/../nvidia/*/lib")
  get_filename_component(_torch_lib_dir "${LibTorch_CPU_LIBRARY}" DIRECTORY)
  foreach(_dir IN LISTS _torch_lib_dir _torch_runtime_dirs)
    get_filename_component(_dir "${_dir}" REALPATH)
    target_link_options(LibTorch::cpu INTERFACE "LINKER:-rpath-link,${_dir}" "LINKER:-rpath,${_dir}")
  endforeach()
endif()
