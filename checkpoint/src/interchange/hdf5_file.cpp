// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <filesystem>

#include "format/manifest.hpp"
#include "interchange/export_file.hpp"
#include "interchange/foreign_tensors.hpp"
#include "lockstep/hdf5/file.hpp"

namespace lockstep {

// libhdf5 tells where the bytes lie; they are taken from the mapping, so that no shape makes it allocate anything.
// hdf5::File refuses links that lead elsewhere, and data that are chunked, filtered, virtual or in other files.
ForeignTensors read_hdf5(std::span<const std::byte> file, const std::string& path) {
  const hdf5::File stored = hdf5::File::open(path);
  ForeignTensors tensors(file.size());
  for (const std::string& name : stored.datasets()) {
    const hdf5::DatasetInfo info = stored.dataset_info(name);
    const auto bytes = bytes_of(info.dtype, info.shape);
    if (!bytes || *bytes > file.size() || info.file_offset > file.size() - *bytes ||
        (*bytes > 0 && info.file_offset == 0)) {  // 0: it has a shape, but nothing was ever written
      refuse(tensor_text(name), "its data are not in the file");
    }
    tensors.add({name.substr(1), info.dtype, info.shape, file.subspan(info.file_offset, *bytes)});
  }
  return tensors;
}

void write_hdf5(const Checkpoint& checkpoint, const std::vector<ExportedTensor>& tensors, ExportFile& file) {
  namespace fs = std::filesystem;
  fs::remove(file.temporary());  // libhdf5 wants to make it
  hdf5::File stored = hdf5::File::create(file.temporary());
  fs::permissions(file.temporary(), fs::perms::owner_read | fs::perms::owner_write);
  for (const ExportedTensor& tensor : tensors) {
    stored.create_dataset("/" + tensor.name, tensor.stored->dtype, tensor.stored->shape);
  }
  for_each_tensor(checkpoint, tensors, [&](const ExportedTensor& tensor, std::span<const std::byte> bytes) {
    stored.write_dataset("/" + tensor.name, bytes);
  });
  stored.close();
}

}  // namespace lockstep
