// SPDX-License-Identifier: Apache-2.0
// What most training programs need.
#pragma once

#include "lockstep/base/config.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/log.hpp"
#include "lockstep/comm/communicator.hpp"
#include "lockstep/dataloader/data_loader.hpp"
#include "lockstep/dataloader/dataset.hpp"
#include "lockstep/runtime/autocast.hpp"
#include "lockstep/runtime/captured_step.hpp"
#include "lockstep/runtime/ddp.hpp"
#include "lockstep/runtime/run.hpp"
#include "lockstep/runtime/runtime.hpp"
#include "lockstep/runtime/steps.hpp"
#include "lockstep/runtime/train_state.hpp"
