// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include "lockstep/checkpoint/load.hpp"

namespace torch::nn {
class Module;
}

namespace lockstep {

// Local. Values of a checkpoint into the parameters and buffers of `module`: for evaluation, to begin from the weights
// of another run, or to take a part of them. `checkpoint` is a folder step-NNNNNNNN; `group` is the name that the
// module had in the TrainState. Names in `options` are the checkpoint's: "/model/conv1.weight"; without `include` they
// are all below /group/. Tensors that are not loaded keep their values. Throws CheckpointError, as load_tensors does:
// then the module's values are worthless if reading itself failed, else unchanged.
//   load_module(*net, "runs/a/checkpoints/step-00000200", "model", {.include = {"/model/backbone.*"}});
LoadReport load_module(torch::nn::Module& module, const std::filesystem::path& checkpoint, const std::string& group,
                       LoadOptions options = {});

}  // namespace lockstep
