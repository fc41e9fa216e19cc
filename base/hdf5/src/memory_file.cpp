// SPDX-License-Identifier: Apache-2.0
#include "lockstep/hdf5/memory_file.hpp"

#include <fmt/format.h>
#include <hdf5.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <system_error>

#include "lockstep/base/error.hpp"
#include "object.hpp"
#include "properties.hpp"
#include "types.hpp"

namespace lockstep::hdf5 {
namespace {

constexpr const char* kSubject = "file in memory";
// Enough for SIMD loads; more would be waste. Metadata in larger blocks than libhdf5's 2 KiB, so that they and the
// small datasets do not alternate, but not so large that a block's unused end matters.
constexpr Spread kSpread{.alignment = 64, .metadata_block = 16U << 10U};

[[noreturn]] void fail(const char* call) {
  const int code = errno;
  throw IoError({.what = fmt::format("{} {}", call, kSubject),
                 .why = fmt::format("{} (errno {})", std::generic_category().message(code), code)});
}

FileDescriptor make_memory() {
  FileDescriptor memory(::memfd_create("lockstep-hdf5", MFD_CLOEXEC));
  if (!memory) fail("memfd_create");
  return memory;
}

// libhdf5's core driver would hold the datasets' bytes; a memfd is sparse. Its default driver wants a path that
// realpath() resolves, which a memfd has not; the one over stdio does not.
Handle create_file(const FileDescriptor& memory) {
  const std::string path = fmt::format("/proc/self/fd/{}", memory.get());
  const Handle creation = file_properties(kSubject);
  const Handle access = access_properties(kSpread, kSubject);
  check(H5Pset_fapl_stdio(access.get()), "H5Pset_fapl_stdio", kSubject);
  return Handle(check(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()), "H5Fcreate", kSubject),
                &H5Fclose);
}

// Saves half of a dataset's metadata: libhdf5 leaves room for attributes otherwise.
Handle small(Handle list) {
  check(H5Pset_dset_no_attrs_hint(list.get(), true), "H5Pset_dset_no_attrs_hint", kSubject);
  return list;
}

Handle virtual_properties(bool floating) {
  Handle list = small(dataset_properties(kSubject));
  check(H5Pset_layout(list.get(), H5D_VIRTUAL), "H5Pset_layout", kSubject);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  if (floating) check(H5Pset_fill_value(list.get(), H5T_NATIVE_DOUBLE, &nan), "H5Pset_fill_value", kSubject);
  return list;
}

Handle space_of(std::span<const std::int64_t> shape, const std::string& subject) {
  const std::vector<hsize_t> dimensions(shape.begin(), shape.end());
  return Handle(
      check(H5Screate_simple(static_cast<int>(shape.size()), dimensions.data(), nullptr), "H5Screate_simple", subject),
      &H5Sclose);
}

void select(const Handle& space, const Box& box, const std::string& subject) {
  if (box.start.empty()) return;  // a scalar: all of it is selected
  const std::vector<hsize_t> start(box.start.begin(), box.start.end());
  const std::vector<hsize_t> count(box.count.begin(), box.count.end());
  check(H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr),
        "H5Sselect_hyperslab", subject);
}

// libhdf5 takes %b for a block's number.
std::string without_patterns(std::string_view name) {
  std::string escaped;
  escaped.reserve(name.size());
  for (const char c : name) escaped.append(c == '%' ? 2 : 1, c);
  return escaped;
}

}  // namespace

MemoryFile::MemoryFile() : memory_(make_memory()) {
  const auto held = lock();
  file_ = create_file(memory_);
  links_ = link_properties(kSubject);
  group_properties_ = group_properties(kSubject);
  contiguous_ = small(contiguous_properties(kSubject));
  virtual_floats_ = virtual_properties(true);
  virtual_integers_ = virtual_properties(false);
}

// Groups that libhdf5 makes by itself have time stamps.
void MemoryFile::make_groups(std::string_view path) {
  for (auto slash = path.find('/', 1); slash != std::string_view::npos; slash = path.find('/', slash + 1)) {
    const auto [name, is_new] = groups_.emplace(path.substr(0, slash));
    if (!is_new) continue;
    const Handle group(check(H5Gcreate2(file_.get(), name->c_str(), links_.get(), group_properties_.get(), H5P_DEFAULT),
                             "H5Gcreate2", *name),
                       &H5Gclose);
  }
}

Handle MemoryFile::add(const std::string& path, DType dtype, const Handle& space, const Handle& properties) {
  make_groups(path);
  const Handle type = type_of(dtype);
  Handle dataset(
      check(H5Dcreate2(file_.get(), path.c_str(), type.get(), space.get(), links_.get(), properties.get(), H5P_DEFAULT),
            "H5Dcreate2", path),
      &H5Dclose);
  if (dtype == DType::boolean) mark_boolean(dataset, path);
  return dataset;
}

std::uint64_t MemoryFile::add_dataset(const std::string& path, DType dtype, std::span<const std::int64_t> shape) {
  const auto held = lock();
  const Handle dataset = add(path, dtype, space_of(shape, path), contiguous_);
  const auto offset = H5Dget_offset(dataset.get());  // undefined where there are no elements
  return offset == HADDR_UNDEF ? 0 : offset;
}

void MemoryFile::add_virtual(const std::string& path, DType dtype, std::span<const std::int64_t> shape,
                             std::span<const Mapping> mappings) {
  const auto held = lock();
  const Handle& properties = is_floating(dtype) ? virtual_floats_ : virtual_integers_;
  check(H5Pset_layout(properties.get(), H5D_VIRTUAL), "H5Pset_layout", path);  // forgets the mappings of the last one
  const Handle space = space_of(shape, path);
  const std::string source_path = without_patterns(path);
  for (const Mapping& mapping : mappings) {
    const Handle source_space = space_of(mapping.source_shape, path);
    select(source_space, mapping.source, path);
    select(space, mapping.target, path);
    check(H5Pset_virtual(properties.get(), space.get(), without_patterns(mapping.file).c_str(), source_path.c_str(),
                         source_space.get()),
          "H5Pset_virtual", path);
  }
  add(path, dtype, space, properties);
}

void MemoryFile::close() { file_.close(); }

std::uint64_t MemoryFile::bytes() const {
  struct stat status;
  if (::fstat(memory_.get(), &status) != 0) fail("fstat");
  return static_cast<std::uint64_t>(status.st_size);
}

void MemoryFile::read(std::uint64_t offset, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const auto count = ::pread(memory_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail("pread");
    if (count == 0) throw IoError({.what = fmt::format("pread {}", kSubject), .why = "it ends too early"});
    offset += static_cast<std::uint64_t>(count);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

}  // namespace lockstep::hdf5
