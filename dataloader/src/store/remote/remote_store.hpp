// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "lockstep/dataloader/blob.hpp"

namespace lockstep::remote {

[[nodiscard]] bool is_remote(const std::string& location);  // http://, https:// or s3://
// Throws UsageError, IoError (the cache's folder).
[[nodiscard]] std::shared_ptr<const BlobStore> open_remote_store(const std::string& location,
                                                                 const RemoteOptions& options);

}  // namespace lockstep::remote
