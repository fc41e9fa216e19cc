// SPDX-License-Identifier: Apache-2.0
#include "formats.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep {

std::unique_ptr<const RecordReader> open_tar(std::shared_ptr<const BlobStore> store, const RecordOptions& options) {
  (void)data_files(*store, options, ".tar");
  throw DataError({.what = "tar", .why = "comes with the next commit"});
}

}  // namespace lockstep
