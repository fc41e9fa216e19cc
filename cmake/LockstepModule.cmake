# SPDX-License-Identifier: Apache-2.0
# lockstep_add_module(<name> [DIR <folder>] HEADERS … SOURCES … PUBLIC … PRIVATE …): one module, one static library.
#   HEADERS  public headers, below <folder>/include; compiled alone by the test `headers`, installed by LockstepInstall
#   PUBLIC   targets whose headers ours include; PRIVATE what only the sources use
include_guard(GLOBAL)

set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")

find_program(LOCKSTEP_CCACHE ccache)
mark_as_advanced(LOCKSTEP_CCACHE)
if(LOCKSTEP_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER AND PROJECT_IS_TOP_LEVEL)
  set(CMAKE_C_COMPILER_LAUNCHER "${LOCKSTEP_CCACHE}")
  # A precompiled header is only cacheable when its time stamp does not count; with the base folder, another checkout
  # of the same code finds what this one compiled.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
    CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
    "CCACHE_BASEDIR=${CMAKE_SOURCE_DIR}" CCACHE_NOHASHDIR=1 "${LOCKSTEP_CCACHE}")
endif()

# Compile options of everything we build; never exported.
function(lockstep_target_defaults target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wpedantic)
  if(LOCKSTEP_WARNINGS_AS_ERRORS)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  # Bits are part of the interface: a fused multiply-add rounds differently from one compiler flag to the next.
  target_compile_options(${target} PRIVATE -ffp-contract=off)
  if(LOCKSTEP_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${LOCKSTEP_SANITIZE} -fno-omit-frame-pointer)
    target_link_options(${target} PUBLIC -fsanitize=${LOCKSTEP_SANITIZE})
  endif()
endfunction()

function(lockstep_add_module name)
  cmake_parse_arguments(ARG "" "DIR" "HEADERS;SOURCES;PUBLIC;PRIVATE" ${ARGN})
  if(ARG_DIR)
    set(folder "${ARG_DIR}")
  else()
    set(folder "${CMAKE_CURRENT_SOURCE_DIR}")
  endif()
  set(target lockstep_${name})
  add_library(${target} STATIC ${ARG_SOURCES})
  add_library(lockstep::${name} ALIAS ${target})
  lockstep_target_defaults(${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name} OUTPUT_NAME lockstep_${name})
  target_sources(${target} PUBLIC FILE_SET HEADERS BASE_DIRS "${folder}/include" FILES ${ARG_HEADERS})
  target_include_directories(${target} PRIVATE "${folder}/src")
  target_link_libraries(${target} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
  set_property(GLOBAL APPEND PROPERTY LOCKSTEP_MODULES ${target})
endfunction()
