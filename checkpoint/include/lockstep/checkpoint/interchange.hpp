// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

namespace lockstep {

class Checkpoint;

enum class ExchangeFormat {
  safetensors,
  torch,  // .pt: what torch.load(weights_only=True) reads as a state_dict
  hdf5,   // one flat file of contiguous datasets
};

// By the file's ending: .safetensors, .pt or .pth, .h5 or .hdf5. Throws UsageError for any other.
[[nodiscard]] ExchangeFormat exchange_format(const std::filesystem::path& file);

// Local. Writes the tensors below /<group>/ of the checkpoint into one file, under the names that remain: "model" gives
// the names of a PyTorch state_dict ("conv1.weight"). Group "": all, with full names without the first slash. Written
// beside `file` under another name, fsynced and renamed; an existing `file` is refused. Throws UsageError,
// CheckpointError.
void export_tensors(const Checkpoint& checkpoint, const std::string& group, const std::filesystem::path& file);

// Local. The inverse: writes folder/step-NNNNNNNN with the file's tensors below /<group>/ and no loader state. No code
// of the file is run, whatever it holds. Returns the checkpoint's path. Throws UsageError, CheckpointError naming the
// file and what in it cannot be read or believed.
std::filesystem::path import_tensors(const std::filesystem::path& file, const std::string& group,
                                     const std::filesystem::path& folder, std::int64_t step);

}  // namespace lockstep
