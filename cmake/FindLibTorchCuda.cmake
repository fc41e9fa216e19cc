# SPDX-License-Identifier: Apache-2.0
# Finds what code over a LibTorch with CUDA is compiled against: its CUDA libraries, and CUDA's runtime and headers.
# After find_package(LibTorch). Defines LibTorch::cuda, LibTorchCuda_VERSION (of CUDA's headers) and
# LibTorchCuda_RUNTIME_DIRS, where the libraries lie that LibTorch loads, whether or not they are installed yet.
#
# Headers and libcudart come from the wheels beside LibTorch, which loads them itself, else from the toolkit in
# CUDA_HOME or /usr/local/cuda. What libtorch_cuda needs besides (cuDNN, cuBLAS, …) need not be installed.
get_filename_component(_wheels "${LibTorch_DIR_FOUND}/../nvidia" REALPATH)
get_filename_component(_torch_lib "${LibTorch_DIR_FOUND}/lib" REALPATH)
file(GLOB _cuda_dirs "${_wheels}/cu[0-9]*" "${_wheels}/cuda_runtime")
list(APPEND _cuda_dirs $ENV{CUDA_HOME} /usr/local/cuda)

find_library(LibTorchCuda_LIBRARY torch_cuda PATHS "${_torch_lib}" NO_DEFAULT_PATH)
find_library(LibTorchCuda_C10_LIBRARY c10_cuda PATHS "${_torch_lib}" NO_DEFAULT_PATH)
find_path(LibTorchCuda_INCLUDE_DIR cuda_runtime.h PATHS ${_cuda_dirs} PATH_SUFFIXES include NO_DEFAULT_PATH)
# From CUDA 13 on these are in a wheel of their own, nvidia-cuda-crt.
find_path(LibTorchCuda_CRT_INCLUDE_DIR crt/host_config.h PATHS ${_cuda_dirs} PATH_SUFFIXES include NO_DEFAULT_PATH)
if(LibTorchCuda_INCLUDE_DIR)
  file(STRINGS "${LibTorchCuda_INCLUDE_DIR}/cuda_runtime_api.h" _line REGEX "^#define CUDART_VERSION" LIMIT_COUNT 1)
  string(REGEX MATCH "[0-9]+$" _number "${_line}")  # 13000 is 13.0
  math(EXPR LibTorchCuda_MAJOR "${_number} / 1000")
  math(EXPR _minor "${_number} % 1000 / 10")
  set(LibTorchCuda_VERSION "${LibTorchCuda_MAJOR}.${_minor}")
  find_library(LibTorchCuda_CUDART_LIBRARY "libcudart.so.${LibTorchCuda_MAJOR}"
    PATHS "${_torch_lib}" ${_cuda_dirs} PATH_SUFFIXES lib lib64 NO_DEFAULT_PATH)
endif()
mark_as_advanced(LibTorchCuda_LIBRARY LibTorchCuda_C10_LIBRARY LibTorchCuda_INCLUDE_DIR LibTorchCuda_CRT_INCLUDE_DIR
  LibTorchCuda_CUDART_LIBRARY)

# The toolkit's headers may be of another CUDA than LibTorch.
set(LibTorchCuda_SAME_MAJOR TRUE)
if(EXISTS "${LibTorch_DIR_FOUND}/version.py")
  file(STRINGS "${LibTorch_DIR_FOUND}/version.py" _line REGEX "^cuda.*'[0-9.]+'" LIMIT_COUNT 1)
  if(LibTorchCuda_VERSION AND NOT _line MATCHES "'${LibTorchCuda_MAJOR}\\.")
    set(LibTorchCuda_SAME_MAJOR FALSE)
  endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorchCuda
  REQUIRED_VARS LibTorchCuda_LIBRARY LibTorchCuda_C10_LIBRARY LibTorchCuda_INCLUDE_DIR LibTorchCuda_CRT_INCLUDE_DIR
    LibTorchCuda_CUDART_LIBRARY LibTorchCuda_SAME_MAJOR
  VERSION_VAR LibTorchCuda_VERSION)

if(LibTorchCuda_FOUND AND NOT TARGET LibTorch::cuda)
  set(LibTorchCuda_RUNTIME_DIRS "${_torch_lib}" "${_wheels}/cu${LibTorchCuda_MAJOR}/lib" "${_wheels}/nccl/lib")
  add_library(LibTorch::cuda INTERFACE IMPORTED)
  target_include_directories(LibTorch::cuda INTERFACE "${LibTorchCuda_INCLUDE_DIR}" "${LibTorchCuda_CRT_INCLUDE_DIR}")
  target_link_libraries(LibTorch::cuda INTERFACE
    "${LibTorchCuda_LIBRARY}" "${LibTorchCuda_C10_LIBRARY}" "${LibTorchCuda_CUDART_LIBRARY}" LibTorch::cpu)
endif()
