// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace lockstep {

// An index from elsewhere must not make us read outside of its store. Throws DataError for a name that is empty, starts
// with "/" or has an empty part, "." or "..".
void check_blob_name(std::string_view name, const std::string& store);

}  // namespace lockstep
