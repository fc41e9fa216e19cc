// SPDX-License-Identifier: Apache-2.0
#include "lockstep/hdf5/file.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <hdf5.h>

#include <algorithm>
#include <numeric>

#include "lockstep/base/error.hpp"
#include "object.hpp"
#include "properties.hpp"
#include "types.hpp"

namespace lockstep::hdf5 {
namespace {

std::string subject_of(const std::filesystem::path& file, const std::string& object) {
  return fmt::format("{}:{}", file.string(), object);
}

std::uint64_t bytes_of(DType dtype, std::span<const std::int64_t> shape) {
  return std::accumulate(
      shape.begin(), shape.end(), static_cast<std::uint64_t>(size_of(dtype)),
      [](std::uint64_t bytes, std::int64_t extent) { return bytes * static_cast<std::uint64_t>(extent); });
}

UsageError wrong_size(const std::string& subject, const DatasetInfo& info, std::string_view given) {
  return UsageError(
      {.what = subject,
       .why = fmt::format("{} do not fit {} [{}]", given, name_of(info.dtype), fmt::join(info.shape, ", "))});
}

// An open dataset and what HDF5 must know to move bytes to or from it unconverted.
struct Dataset {
  Dataset(Id file, const std::string& path, std::string name)
      : subject(std::move(name)),
        handle(open_object(file, path, subject)),
        info(read_info(handle, subject)),
        type(type_of(info.dtype)) {}

  void require_whole(std::size_t bytes) const {
    if (bytes != bytes_of(info.dtype, info.shape)) throw wrong_size(subject, info, fmt::format("{} bytes", bytes));
  }

  // The selection of the rows from `first_row` on that `bytes` hold.
  [[nodiscard]] Handle select_rows(std::int64_t first_row, std::size_t bytes) const {
    const bool has_row = !info.shape.empty() && first_row >= 0 && first_row <= info.shape.front();
    const auto row_bytes = has_row ? bytes_of(info.dtype, std::span(info.shape).subspan(1)) : 0;
    const auto rows = row_bytes == 0 ? 0 : bytes / row_bytes;
    if (!has_row || rows * row_bytes != bytes || rows > static_cast<std::uint64_t>(info.shape.front() - first_row)) {
      throw wrong_size(subject, info, fmt::format("{} bytes from row {} on", bytes, first_row));
    }
    std::vector<hsize_t> start(info.shape.size(), 0);
    std::vector<hsize_t> count(info.shape.begin(), info.shape.end());
    start.front() = static_cast<hsize_t>(first_row);
    count.front() = rows;
    Handle space(check(H5Dget_space(handle.get()), "H5Dget_space", subject), &H5Sclose);
    check(H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr),
          "H5Sselect_hyperslab", subject);
    return space;
  }

  // The bytes in memory: as many elements in one row.
  [[nodiscard]] Handle memory_space(std::size_t bytes) const {
    const hsize_t elements = bytes / size_of(info.dtype);
    return Handle(check(H5Screate_simple(1, &elements, nullptr), "H5Screate_simple", subject), &H5Sclose);
  }

  std::string subject;
  Handle handle;
  DatasetInfo info;
  Handle type;
};

struct FoundLinks {
  std::vector<std::string> hard;
  std::string other;  // the last link that is not a hard one
};

herr_t collect_link(hid_t /*group*/, const char* name, const H5L_info_t* link, void* data) noexcept {
  auto& found = *static_cast<FoundLinks*>(data);
  if (link->type == H5L_TYPE_HARD) {
    found.hard.push_back(fmt::format("/{}", name));
  } else {
    found.other = fmt::format("/{}", name);
  }
  return 0;
}

}  // namespace

File::File(Handle handle, std::filesystem::path path) : file_(std::move(handle)), path_(std::move(path)) {}

File File::create(const std::filesystem::path& path) {
  const auto held = lock();
  const auto creation = file_properties(path.string());
  const auto access = access_properties({}, path.string());
  return File(
      Handle(check(H5Fcreate(path.c_str(), H5F_ACC_EXCL, creation.get(), access.get()), "H5Fcreate", path.string()),
             &H5Fclose),
      path);
}

File File::open(const std::filesystem::path& path) {
  const auto held = lock();
  const auto access = access_properties({}, path.string());
  return File(Handle(check(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), "H5Fopen", path.string()), &H5Fclose),
              path);
}

File File::open_image(std::span<const std::byte> bytes, const std::string& name) {
  constexpr std::size_t kGrowth = 65536;  // of a file that is written, which this is not
  const auto held = lock();
  const auto access = access_properties({}, name);
  check(H5Pset_fapl_core(access.get(), kGrowth, false), "H5Pset_fapl_core", name);
  // HDF5 asks for a pointer to what it only copies.
  check(H5Pset_file_image(access.get(), const_cast<std::byte*>(bytes.data()), bytes.size()), "H5Pset_file_image", name);
  // HDF5 refuses the name of a file that exists.
  const auto of_none = "image of " + name;
  return File(Handle(check(H5Fopen(of_none.c_str(), H5F_ACC_RDONLY, access.get()), "H5Fopen", name), &H5Fclose), name);
}

void File::create_dataset(const std::string& path, DType dtype, std::span<const std::int64_t> shape) {
  const auto held = lock();
  const auto subject = subject_of(path_, path);
  const std::vector<hsize_t> dimensions(shape.begin(), shape.end());
  const Handle space(
      check(H5Screate_simple(static_cast<int>(shape.size()), dimensions.data(), nullptr), "H5Screate_simple", subject),
      &H5Sclose);
  const auto type = type_of(dtype);
  const auto links = link_properties(subject);
  const auto properties = contiguous_properties(subject);
  const Handle dataset(
      check(H5Dcreate2(file_.get(), path.c_str(), type.get(), space.get(), links.get(), properties.get(), H5P_DEFAULT),
            "H5Dcreate2", subject),
      &H5Dclose);
  if (dtype == DType::boolean) mark_boolean(dataset, subject);
}

void File::write_dataset(const std::string& path, std::span<const std::byte> bytes) {
  const auto held = lock();
  const Dataset dataset(file_.get(), path, subject_of(path_, path));
  dataset.require_whole(bytes.size());
  if (bytes.empty()) return;
  check(H5Dwrite(dataset.handle.get(), dataset.type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()), "H5Dwrite",
        dataset.subject);
}

void File::write_rows(const std::string& path, std::int64_t first_row, std::span<const std::byte> bytes) {
  const auto held = lock();
  const Dataset dataset(file_.get(), path, subject_of(path_, path));
  const auto rows = dataset.select_rows(first_row, bytes.size());
  if (bytes.empty()) return;
  const auto memory = dataset.memory_space(bytes.size());
  check(H5Dwrite(dataset.handle.get(), dataset.type.get(), memory.get(), rows.get(), H5P_DEFAULT, bytes.data()),
        "H5Dwrite", dataset.subject);
}

void File::set_attribute(const std::string& object, const std::string& name, double value) {
  const auto held = lock();
  const auto subject = subject_of(path_, object);
  write_number(open_object(file_.get(), object, subject), name, value, subject);
}

void File::set_attribute(const std::string& object, const std::string& name, std::string_view text) {
  const auto held = lock();
  const auto subject = subject_of(path_, object);
  write_text(open_object(file_.get(), object, subject), name, text, subject);
}

std::vector<std::string> File::datasets() const {
  const auto held = lock();
  FoundLinks links;
  check(H5Lvisit(file_.get(), H5_INDEX_NAME, H5_ITER_NATIVE, &collect_link, &links), "H5Lvisit", path_.string());
  if (!links.other.empty()) throw refused(subject_of(path_, links.other), "a soft or external link");
  std::erase_if(links.hard, [this](const std::string& path) {
    return !is_dataset(open_object(file_.get(), path, subject_of(path_, path)));
  });
  std::ranges::sort(links.hard);
  return std::move(links.hard);
}

DatasetInfo File::dataset_info(const std::string& path) const {
  const auto held = lock();
  return Dataset(file_.get(), path, subject_of(path_, path)).info;
}

bool File::has_dataset(const std::string& path) const {
  const auto held = lock();
  const auto subject = subject_of(path_, path);
  return exists(file_.get(), path, subject) && is_dataset(open_object(file_.get(), path, subject));
}

void File::read_dataset(const std::string& path, std::span<std::byte> bytes) const {
  const auto held = lock();
  const Dataset dataset(file_.get(), path, subject_of(path_, path));
  dataset.require_whole(bytes.size());
  if (bytes.empty()) return;
  check(H5Dread(dataset.handle.get(), dataset.type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()), "H5Dread",
        dataset.subject);
}

void File::read_rows(const std::string& path, std::int64_t first_row, std::span<std::byte> bytes) const {
  const auto held = lock();
  const Dataset dataset(file_.get(), path, subject_of(path_, path));
  const auto rows = dataset.select_rows(first_row, bytes.size());
  if (bytes.empty()) return;
  const auto memory = dataset.memory_space(bytes.size());
  check(H5Dread(dataset.handle.get(), dataset.type.get(), memory.get(), rows.get(), H5P_DEFAULT, bytes.data()),
        "H5Dread", dataset.subject);
}

std::optional<double> File::number_attribute(const std::string& object, const std::string& name) const {
  const auto held = lock();
  const auto subject = subject_of(path_, object);
  return read_number(open_object(file_.get(), object, subject), name, subject);
}

std::optional<std::string> File::text_attribute(const std::string& object, const std::string& name) const {
  const auto held = lock();
  const auto subject = subject_of(path_, object);
  return read_text(open_object(file_.get(), object, subject), name, subject);
}

void File::close() { file_.close(); }

}  // namespace lockstep::hdf5
