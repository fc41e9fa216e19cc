# SPDX-License-Identifier: Apache-2.0
# Faults: calls that fail, ranks that are killed, power that is lost; samples. The campaigns: failures_all, kill_all and
# power_loss_all (tests/README.md).
if(NOT LOCKSTEP_SANITIZE)  # ranks are forked processes
  add_library(file_shim SHARED shim/file_shim_calls.cpp shim/file_shim_state.cpp)  # to be linked, or preloaded
  lockstep_target_defaults(file_shim)
  add_library(fault_job STATIC crash_model.cpp fault_job.cpp job_state.cpp operation_log.cpp
    "${PROJECT_SOURCE_DIR}/tests/comm/shm_processes.cpp")
  lockstep_target_defaults(fault_job)
  target_include_directories(fault_job PUBLIC "${PROJECT_SOURCE_DIR}/tests" PRIVATE "${PROJECT_SOURCE_DIR}/comm/src")
  target_link_libraries(fault_job PUBLIC file_shim lockstep::checkpoint lockstep::comm)
  function(add_checkpoint_campaign name sample)
    add_executable(checkpoint_${name} checkpoint_${name}.cpp)
    lockstep_target_defaults(checkpoint_${name})
    target_link_libraries(checkpoint_${name} PRIVATE fault_job)
    add_test(NAME checkpoint_${name} COMMAND checkpoint_${name} ${sample})
    set_tests_properties(checkpoint_${name} PROPERTIES LABELS faults TIMEOUT 300 PROCESSORS 2)
  endfunction()
  add_checkpoint_campaign(failures 24)
  add_checkpoint_campaign(kills 24)
  add_checkpoint_campaign(power_loss 250)
  lockstep_add_test(file_shim_test SOURCES file_shim_test.cpp LIBRARIES fault_job lockstep::hdf5)
  lockstep_add_test(slow_disk_test SOURCES slow_disk_test.cpp LIBRARIES fault_job LABEL faults)

  # Ranks as processes of their own, with the shim from outside.
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  add_executable(save_program job_state.cpp save_program.cpp)
  lockstep_target_defaults(save_program)
  target_include_directories(save_program PRIVATE "${PROJECT_SOURCE_DIR}/tests")
  target_link_libraries(save_program PRIVATE lockstep::checkpoint lockstep::comm)
  add_test(NAME preload_test COMMAND ${Python3_EXECUTABLE} "${CMAKE_CURRENT_SOURCE_DIR}/preload_test.py"
    $<TARGET_FILE:save_program> $<TARGET_FILE:file_shim>)
  set_tests_properties(preload_test PROPERTIES LABELS faults TIMEOUT 240 PROCESSORS 2
    ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
endif()
if(LOCKSTEP_MPI AND NOT LOCKSTEP_SANITIZE)
  find_file(LOCKSTEP_MPI_H mpi.h PATHS ${MPI_C_INCLUDE_DIRS} NO_DEFAULT_PATH REQUIRED)
  mark_as_advanced(LOCKSTEP_MPI_H)
  set(mpi_wrappers "${CMAKE_CURRENT_BINARY_DIR}/mpi_wrappers.cpp")
  add_custom_command(OUTPUT "${mpi_wrappers}" VERBATIM DEPENDS shim/wrap_mpi.py
    COMMAND ${Python3_EXECUTABLE} "${CMAKE_CURRENT_SOURCE_DIR}/shim/wrap_mpi.py" "${LOCKSTEP_MPI_H}"
      "${PROJECT_SOURCE_DIR}/comm" "${mpi_wrappers}")
  lockstep_add_rank_test(main_thread_rank_test WORLD_SIZES 2 LIBRARIES lockstep::checkpoint lockstep::comm
    SOURCES job_state.cpp main_thread_rank_test.cpp shim/main_thread_mpi.cpp "${mpi_wrappers}")
endif()
