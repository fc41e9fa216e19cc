# SPDX-License-Identifier: Apache-2.0
# lockstep_add_test(<name> SOURCES … LIBRARIES … [LABEL unit])            one process, GoogleTest's main
# lockstep_add_rank_test(<name> SOURCES … LIBRARIES … WORLD_SIZES 1 2 3)   one CTest case a world size: <name>.np2
#   [MPI_SOURCES …]  only with LOCKSTEP_MPI, whose mpirun then starts the ranks; else `lockstep run` does
include_guard(GLOBAL)
find_package(GTest REQUIRED)

# Open MPI refuses root and more ranks than cores unless told; the flags come from the MPI that was found.
if(LOCKSTEP_MPI)
  find_program(LOCKSTEP_MPIRUN mpirun REQUIRED)
  set(LOCKSTEP_START_RANKS "${LOCKSTEP_MPIRUN}" --oversubscribe --bind-to none -np)
else()
  set(LOCKSTEP_START_RANKS lockstep_command run -n)
endif()
set(LOCKSTEP_TEST_ENVIRONMENT "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;OMPI_MCA_rmaps_base_oversubscribe=1")
if(LOCKSTEP_SANITIZE)
  list(APPEND LOCKSTEP_TEST_ENVIRONMENT
    "TSAN_OPTIONS=ignore_noninstrumented_modules=1:halt_on_error=1"
    "ASAN_OPTIONS=detect_container_overflow=0:detect_leaks=0"
    "UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1")
endif()

function(lockstep_add_test name)
  cmake_parse_arguments(ARG "" "LABEL;TIMEOUT" "SOURCES;LIBRARIES" ${ARGN})
  if(NOT ARG_LABEL)
    set(ARG_LABEL unit)
  endif()
  if(NOT ARG_TIMEOUT AND LOCKSTEP_SANITIZE)
    set(ARG_TIMEOUT 600)
  elseif(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  lockstep_target_defaults(${name})
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/tests")
  target_link_libraries(${name} PRIVATE ${ARG_LIBRARIES} GTest::gmock GTest::gtest GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT}
    ENVIRONMENT "${LOCKSTEP_TEST_ENVIRONMENT}" SKIP_REGULAR_EXPRESSION "\\[  SKIPPED \\]")
endfunction()

function(lockstep_add_rank_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;MPI_SOURCES;LIBRARIES;WORLD_SIZES" ${ARGN})
  if(LOCKSTEP_SANITIZE)
    return()  # MPI's own leaks and races would drown ours: sanitizers run the unit and local-backend tests
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_SOURCES} "${PROJECT_SOURCE_DIR}/tests/support/rank_main.cpp")
  if(LOCKSTEP_MPI)
    target_sources(${name} PRIVATE ${ARG_MPI_SOURCES})
    target_link_libraries(${name} PRIVATE lockstep::mpi)
  endif()
  lockstep_target_defaults(${name})
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/tests")
  target_link_libraries(${name} PRIVATE ${ARG_LIBRARIES} GTest::gmock GTest::gtest)
  foreach(world_size IN LISTS ARG_WORLD_SIZES)
    add_test(NAME ${name}.np${world_size}
      COMMAND ${LOCKSTEP_START_RANKS} ${world_size} $<TARGET_FILE:${name}>)
    set_tests_properties(${name}.np${world_size} PROPERTIES LABELS ranks TIMEOUT ${ARG_TIMEOUT} PROCESSORS 2
      ENVIRONMENT "${LOCKSTEP_TEST_ENVIRONMENT}" SKIP_REGULAR_EXPRESSION "\\[  SKIPPED \\]")
  endforeach()
endfunction()
