# SPDX-License-Identifier: Apache-2.0
# Protects those who use an installed lockstep: installs the build to a scratch prefix, builds examples/find_package
# against nothing but that, and runs it.
file(REMOVE_RECURSE "${SCRATCH_DIR}")
file(MAKE_DIRECTORY "${SCRATCH_DIR}/run")

function(must_work)
  execute_process(COMMAND ${ARGV} WORKING_DIRECTORY "${SCRATCH_DIR}/run" COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endfunction()

must_work("${CMAKE_COMMAND}" --install "${BUILD_DIR}" --prefix "${SCRATCH_DIR}/prefix")
must_work("${CMAKE_COMMAND}" -S "${EXAMPLE_DIR}" -B "${SCRATCH_DIR}/build" -G "${GENERATOR}"
  "-DCMAKE_PREFIX_PATH=${SCRATCH_DIR}/prefix" "-DCMAKE_CXX_COMPILER=${COMPILER}"
  -DCMAKE_BUILD_TYPE=Release)
must_work("${CMAKE_COMMAND}" --build "${SCRATCH_DIR}/build")
must_work("${SCRATCH_DIR}/prefix/bin/lockstep" run -n 2 "${SCRATCH_DIR}/build/line")
must_work("${SCRATCH_DIR}/prefix/bin/lockstep" data --help)
