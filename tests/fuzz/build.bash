# SPDX-License-Identifier: Apache-2.0
# Sourced: compiles what fuzzing and tests/dataloader/damage_all need with clang's address and undefined-behaviour
# sanitizers, without LibTorch, into $build/objects.a. Sets root, build, compile and libraries.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$root/build/fuzz
mkdir -p "$build"

compile=(clang++ -std=c++20 -O1 -g1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
  -I"$root/base/include" -I"$root/base/hdf5/include" -I"$root/dataloader/include" -I"$root/dataloader/src"
  -I"$root/checkpoint/include" -I"$root/checkpoint/src" -I"$root/tests" $(pkg-config --cflags hdf5-serial libzstd liblz4))
libraries=($(pkg-config --libs hdf5-serial libzstd liblz4 libarchive libcrypto libcurl libjpeg libpng zlib fmt))

# What opens data sets, checkpoints and files of tensors.
sed 's/@PROJECT_VERSION@/0/' "$root/base/src/version.cpp.in" >"$build/version.cpp"
sources=("$root"/base/src/{crc32c,dtype,environment,error,file,mapped_file}.cpp "$root"/base/hdf5/src/*.cpp
  "$root"/dataloader/src/{formats,pack,store,store/remote}/*.cpp "$root"/dataloader/src/decode/convert.cpp
  "$root"/checkpoint/src/{failure,format/manifest,format/step_folder,read/*}.cpp "$build/version.cpp"
  "$root"/checkpoint/src/interchange/{export_file,foreign_tensors,pickle_parser,safetensors,torch_file}.cpp
  "$root"/checkpoint/src/interchange/{unpickle,zip_reader,zip_writer}.cpp)
rm -f "$build"/objects.a
# ccache knows which objects a changed header makes stale.
printf '%s\n' "${sources[@]}" |
  xargs -P "$(nproc)" -I{} bash -c 'source=$1 build=$2; shift 2; ccache "$@" -c "$source" -o "$build/${source//\//-}.o"' \
    _ {} "$build" "${compile[@]}"
# CMake would fill the version in.
sed "s/@PROJECT_VERSION@/$(cat "$root/VERSION")/" "$root/base/src/version.cpp.in" >"$build/version.cpp"
"${compile[@]}" -c "$build/version.cpp" -o "$build/version.cpp.o"
ar rcs "$build/objects.a" "$build"/*.cpp.o

# Leaks: HDF5 keeps what it allocated.
export ASAN_OPTIONS=detect_leaks=0:detect_container_overflow=0
