// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>
#include <optional>

#include "format/manifest.hpp"
#include "interchange/export_file.hpp"
#include "interchange/foreign_tensors.hpp"
#include "interchange/unpickle.hpp"
#include "interchange/zip.hpp"

// What torch.save writes from PyTorch 1.6 on: a ZIP container with data.pkl and one entry data/<key> a storage
// (pytorch: torch/serialization.py, caffe2/serialize/inline_container.h).
namespace lockstep {
namespace {

using Entries = std::map<std::string_view, std::span<const std::byte>>;

constexpr std::string_view kPickleName = "/data.pkl";

// "archive", or whatever the file was called when it was written.
std::string folder_of(const Entries& entries) {
  const auto is_pickle = [](const auto& entry) {
    return entry.first.ends_with(kPickleName) && std::ranges::count(entry.first, '/') == 1;
  };
  const auto found = std::ranges::find_if(entries, is_pickle);
  if (found == entries.end()) refuse("its ZIP container", "it has no data.pkl: torch.save did not write it");
  return std::string(found->first.substr(0, found->first.size() - kPickleName.size()));
}

std::optional<std::span<const std::byte>> find(const Entries& entries, const std::string& name) {
  const auto found = entries.find(name);
  return found == entries.end() ? std::nullopt : std::optional(found->second);
}

std::int64_t elements_of(const std::vector<std::int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

bool is_contiguous(const PickledTensor& tensor) {
  std::int64_t stride = 1;
  for (std::size_t i = tensor.shape.size(); i-- > 0;) {
    if (tensor.shape[i] == 1) continue;
    if (tensor.strides[i] != stride) return false;
    stride *= tensor.shape[i];
  }
  return true;
}

// One behind its last element in the storage, of a tensor with elements.
std::optional<std::int64_t> end_of(const PickledTensor& tensor) {
  std::int64_t end = 0;
  if (__builtin_add_overflow(tensor.offset, 1, &end)) return std::nullopt;
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    std::int64_t reach = 0;
    if (__builtin_mul_overflow(tensor.shape[i] - 1, tensor.strides[i], &reach) ||
        __builtin_add_overflow(end, reach, &end)) {
      return std::nullopt;
    }
  }
  return end;
}

// The elements in row-major order.
std::vector<std::byte> gather(const PickledTensor& tensor, std::span<const std::byte> storage, std::size_t bytes) {
  const std::size_t size = size_of(tensor.dtype);
  std::vector<std::byte> gathered(bytes);
  std::vector<std::int64_t> index(tensor.shape.size(), 0);
  auto element = tensor.offset;
  for (std::size_t at = 0; at < bytes; at += size) {
    std::memcpy(gathered.data() + at, storage.data() + static_cast<std::size_t>(element) * size, size);
    for (std::size_t i = index.size(); i-- > 0;) {
      element += tensor.strides[i];
      if (++index[i] < tensor.shape[i]) break;
      element -= tensor.strides[i] * tensor.shape[i];
      index[i] = 0;
    }
  }
  return gathered;
}

void add(ForeignTensors& tensors, PickledTensor tensor, std::span<const std::byte> storage) {
  const std::string what = tensor_text(tensor.name);
  const std::size_t size = size_of(tensor.dtype);
  const auto bytes = bytes_of(tensor.dtype, tensor.shape);
  if (static_cast<std::uint64_t>(tensor.storage_elements) > storage.size() / size || !bytes ||
      *bytes > static_cast<std::uint64_t>(tensor.storage_elements) * size) {
    refuse(what, fmt::format("its storage of {} bytes is too small for {} [{}] of {} stored elements", storage.size(),
                             name_of(tensor.dtype), fmt::join(tensor.shape, ", "), tensor.storage_elements));
  }
  ForeignTensor foreign{std::move(tensor.name), tensor.dtype, tensor.shape, {}};
  if (*bytes == 0) return tensors.add(std::move(foreign));
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    if (tensor.shape[i] == 1) tensor.strides[i] = 0;  // whatever it says, it is never taken
  }
  const auto end = end_of(tensor);
  if (!end || *end > tensor.storage_elements) refuse(what, "it reaches beyond the end of its storage");
  if (!is_contiguous(tensor)) return tensors.add_copy(std::move(foreign), gather(tensor, storage, *bytes));
  foreign.bytes = storage.subspan(static_cast<std::size_t>(tensor.offset) * size, *bytes);
  tensors.add(std::move(foreign));
}

std::string pickled_int(std::int64_t value) {
  constexpr char kLong1 = '\x8a';
  std::string text{kLong1, static_cast<char>(sizeof value)};
  return text.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string pickled_text(std::string_view value) {
  const auto bytes = static_cast<std::uint32_t>(value.size());
  std::string text = "X";
  text.append(reinterpret_cast<const char*>(&bytes), sizeof bytes);
  return text.append(value);
}

std::string pickled_tuple(const std::vector<std::int64_t>& values) {
  std::string text = "(";
  for (const std::int64_t value : values) text += pickled_int(value);
  return text + "t";
}

std::vector<std::int64_t> strides_of(const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> strides(shape.size(), 1);
  if (std::ranges::find(shape, 0) != shape.end()) return strides;  // the other dimensions may be of any size
  for (std::size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

// torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict()), whose storage is data/<key>.
std::string pickled_tensor(const StoredTensor& tensor, std::size_t key) {
  const auto* const storage =
      std::ranges::find(kTorchStorages, tensor.dtype, &std::pair<std::string_view, DType>::second);
  return fmt::format("ctorch._utils\n_rebuild_tensor_v2\n(({}ctorch\n{}\n{}{}{}tQ{}{}{}\x89{}tR",
                     pickled_text("storage"), storage->first, pickled_text(fmt::to_string(key)), pickled_text("cpu"),
                     pickled_int(elements_of(tensor.shape)), pickled_int(0), pickled_tuple(tensor.shape),
                     pickled_tuple(strides_of(tensor.shape)), "ccollections\nOrderedDict\n)R");
}

}  // namespace

ForeignTensors read_torch(std::span<const std::byte> file) {
  const Entries entries = stored_entries(file);
  const std::string folder = folder_of(entries);
  const auto order = find(entries, folder + "/byteorder");
  if (order && std::string_view(reinterpret_cast<const char*>(order->data()), order->size()) != "little") {
    refuse("its ZIP container", "its numbers are not little-endian");
  }
  ForeignTensors tensors(file.size());
  for (PickledTensor& tensor : unpickle_tensors(*find(entries, folder + std::string(kPickleName)))) {
    const auto storage = find(entries, fmt::format("{}/data/{}", folder, tensor.storage));
    if (!storage) refuse(tensor_text(tensor.name), "the file lacks its storage");
    add(tensors, std::move(tensor), *storage);
  }
  return tensors;
}

void write_torch(const Checkpoint& checkpoint, const std::vector<ExportedTensor>& tensors, ExportFile& file) {
  const std::string folder = "archive";
  std::string pickle(
      "\x80\x02"
      "ccollections\nOrderedDict\n)R(");
  for (std::size_t key = 0; key < tensors.size(); ++key) {
    pickle += pickled_text(tensors[key].name) + pickled_tensor(*tensors[key].stored, key);
  }
  pickle += "u.";
  ZipWriter zip(file);
  zip.add(folder + "/data.pkl", pickle);
  zip.add(folder + "/byteorder", "little");
  std::size_t key = 0;
  for_each_tensor(checkpoint, tensors, [&](const ExportedTensor&, std::span<const std::byte> bytes) {
    zip.add(fmt::format("{}/data/{}", folder, key++), bytes);
  });
  zip.add(folder + "/version", "3\n");
  zip.finish();
}

}  // namespace lockstep
