// SPDX-License-Identifier: Apache-2.0
// A liblockstep_gpu.so of another version of lockstep: it knows no layout that it is asked for.
extern "C" __attribute__((visibility("default"))) const void* lockstep_gpu_libraries(int /*layout*/) { return nullptr; }
