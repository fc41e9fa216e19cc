// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "format/manifest.hpp"
#include "format/part_layout.hpp"

namespace lockstep {

// The steps of the commit protocol that one rank does for all (docs/checkpoint_format.md). All throw IoError, and
// CheckpointError from a checkpoint that exists.

// Whether `path` is a checkpoint of `step` that verifies. Throws CannotLook.
[[nodiscard]] bool holds_good_checkpoint(const std::filesystem::path& path, std::int64_t step);

// Makes folder/step-N.tmp-<pid>-<random>, mode 0700; before, `folder` if need be, durably. Returns its path. The fsync
// of commit() makes the new folder durable: here, training would wait for it.
[[nodiscard]] std::filesystem::path make_unfinished_folder(const std::filesystem::path& folder, std::int64_t step);

// `manifest` has all but index.h5. Writes index.h5 and MANIFEST and fsyncs them and the folder, which from now on
// claims to be complete.
void seal(const std::filesystem::path& unfinished, Manifest manifest, KeptIndex& index);

// `manifest` has all but index.h5, whose files are durable in `unfinished`. Looks at their sizes there (a folder that
// is not shared is seen here), seals the folder, renames it to its step, fsyncs
// the parent: this is the commit. Then LATEST, a hint. Where a checkpoint of that step exists, it is kept and the new
// one discarded if it is good, else it is set aside. Returns the final path; that, and what went wrong after the
// commit, goes to `warnings`.
std::filesystem::path commit(const std::filesystem::path& unfinished, Manifest manifest, KeptIndex& index,
                             std::vector<std::string>& warnings);

// folder/LATEST, a hint for people: nothing reads it.
inline constexpr const char* kLatestName = "LATEST";
void write_latest(const std::filesystem::path& folder, std::int64_t step);

// Removes it and all in it; never throws.
void discard(const std::filesystem::path& unfinished) noexcept;

}  // namespace lockstep
