// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string_view>

namespace lockstep::fuzz {

// Opens hostile bytes as one kind of file and reads all that it holds. Only lockstep::Error may come of it, which is caught.
struct Target {
  std::string_view name;
  void (*run)(std::string_view bytes);
};

void tar(std::string_view bytes);
void tar_index(std::string_view bytes);  // beside a good tar file
void mds_index(std::string_view bytes);  // of a good shard
void mds_shard(std::string_view bytes);  // of a good index
void mds_zstd(std::string_view bytes);   // of a good index, which expects the shard that good_mds_shard() is
void tokens(std::string_view bytes);
void manifest(std::string_view bytes);  // of a folder of raw files
void checkpoint_manifest(std::string_view bytes);
void safetensors(std::string_view bytes);
void torch_pickle(std::string_view bytes);  // data.pkl, and the tensors that it makes of one storage
void torch_file(std::string_view bytes);    // the whole ZIP container

inline constexpr std::array kTargets{Target{"tar", tar},
                                     Target{"tar_index", tar_index},
                                     Target{"mds_index", mds_index},
                                     Target{"mds_shard", mds_shard},
                                     Target{"mds_zstd", mds_zstd},
                                     Target{"tokens", tokens},
                                     Target{"manifest", manifest},
                                     Target{"checkpoint_manifest", checkpoint_manifest},
                                     Target{"safetensors", safetensors},
                                     Target{"torch_pickle", torch_pickle},
                                     Target{"torch_file", torch_file}};

}  // namespace lockstep::fuzz
