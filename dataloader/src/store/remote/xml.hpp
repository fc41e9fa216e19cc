// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lockstep::remote {

// The answers of an object store are flat XML without attributes that matter, comments or CDATA: these two suffice, and
// have nothing to expand, to nest or to load.

// What stands between the first <tag …> and its </tag>; `rest`, if given, becomes what follows. Nothing: no such
// element.
[[nodiscard]] std::optional<std::string_view> xml_element(std::string_view text, std::string_view tag,
                                                          std::string_view* rest = nullptr);
// The same with &amp; and the like, and &#…; replaced.
[[nodiscard]] std::optional<std::string> xml_text(std::string_view text, std::string_view tag);

}  // namespace lockstep::remote
