// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace lockstep {

// Names this thread "lockstep-ckpt". A file past the shell's limit becomes an error of its checkpoint here, not the end
// of the process.
void become_writer() noexcept;

// The lowest priority for this thread and those that it starts. Failures do not matter: then it competes with training
// on equal terms.
void give_way_to_training() noexcept;

}  // namespace lockstep
