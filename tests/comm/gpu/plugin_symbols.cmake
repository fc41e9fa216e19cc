# SPDX-License-Identifier: Apache-2.0
# The libraries that libtorch_cuda needs may be absent where the plugin is built, so no test can load it there. What it
# needs itself must be in the libraries that it names, and it must show nothing but its entry.
# -DPLUGIN=… -DNM=… -DCXX=… -DLIBRARIES=a|b|…
function(symbols_of file kind result)
  execute_process(COMMAND "${NM}" -D --${kind}-only --without-symbol-versions --format=posix "${file}"
    OUTPUT_VARIABLE text COMMAND_ERROR_IS_FATAL ANY)
  set(${result} "\n${text}" PARENT_SCOPE)
endfunction()

string(REPLACE "|" ";" libraries "${LIBRARIES}")
foreach(name IN ITEMS libstdc++.so.6 libgcc_s.so.1 libm.so.6 libc.so.6)
  execute_process(COMMAND "${CXX}" -print-file-name=${name} OUTPUT_VARIABLE file OUTPUT_STRIP_TRAILING_WHITESPACE)
  list(APPEND libraries "${file}")
endforeach()
set(defined "")
foreach(library IN LISTS libraries)
  symbols_of("${library}" defined text)
  string(APPEND defined "${text}")
endforeach()

symbols_of("${PLUGIN}" undefined text)
string(REGEX MATCHALL "[^\n]+ U " lines "${text}")  # weak ones may stay undefined
list(LENGTH lines count)
if(count EQUAL 0)
  message(FATAL_ERROR "${PLUGIN} needs no symbols: has it been linked?")
endif()
set(unknown "")
foreach(line IN LISTS lines)
  string(REPLACE " U " "" symbol "${line}")
  string(FIND "${defined}" "\n${symbol} " place)
  if(place EQUAL -1)
    list(APPEND unknown "${symbol}")
  endif()
endforeach()
if(unknown)
  list(JOIN unknown "\n  " unknown)
  message(FATAL_ERROR "${PLUGIN} needs what none of its libraries has:\n  ${unknown}")
endif()

symbols_of("${PLUGIN}" defined shown)
if(NOT shown MATCHES "^\nlockstep_gpu_libraries T [^\n]*\n$")
  message(FATAL_ERROR "${PLUGIN} must show lockstep_gpu_libraries alone, but shows:${shown}")
endif()
message(STATUS "${count} symbols, all in its libraries")
