// SPDX-License-Identifier: Apache-2.0
#include "properties.hpp"

#include <hdf5.h>

namespace lockstep::hdf5 {
namespace {

constexpr hsize_t kAlignFrom = 65536;  // a smaller object would waste most of a page

Handle without_times(Id list_class, const std::string& subject) {
  Handle list(check(H5Pcreate(list_class), "H5Pcreate", subject), &H5Pclose);
  check(H5Pset_obj_track_times(list.get(), false), "H5Pset_obj_track_times", subject);
  return list;
}

}  // namespace

Handle access_properties(const Spread& spread, const std::string& subject) {
  Handle list(check(H5Pcreate(H5P_FILE_ACCESS), "H5Pcreate", subject), &H5Pclose);
  check(H5Pset_libver_bounds(list.get(), H5F_LIBVER_V18, H5F_LIBVER_V110), "H5Pset_libver_bounds", subject);
  check(H5Pset_alignment(list.get(), kAlignFrom, spread.alignment), "H5Pset_alignment", subject);
  check(H5Pset_meta_block_size(list.get(), spread.metadata_block), "H5Pset_meta_block_size", subject);
  check(H5Pset_file_locking(list.get(), false, true), "H5Pset_file_locking", subject);
  return list;
}

Handle file_properties(const std::string& subject) { return without_times(H5P_FILE_CREATE, subject); }

Handle group_properties(const std::string& subject) { return without_times(H5P_GROUP_CREATE, subject); }

Handle dataset_properties(const std::string& subject) { return without_times(H5P_DATASET_CREATE, subject); }

Handle contiguous_properties(const std::string& subject) {
  Handle list = dataset_properties(subject);
  check(H5Pset_layout(list.get(), H5D_CONTIGUOUS), "H5Pset_layout", subject);
  check(H5Pset_alloc_time(list.get(), H5D_ALLOC_TIME_EARLY), "H5Pset_alloc_time", subject);
  check(H5Pset_fill_time(list.get(), H5D_FILL_TIME_NEVER), "H5Pset_fill_time", subject);
  return list;
}

Handle link_properties(const std::string& subject) {
  Handle list(check(H5Pcreate(H5P_LINK_CREATE), "H5Pcreate", subject), &H5Pclose);
  check(H5Pset_create_intermediate_group(list.get(), 1), "H5Pset_create_intermediate_group", subject);
  check(H5Pset_char_encoding(list.get(), H5T_CSET_UTF8), "H5Pset_char_encoding", subject);
  return list;
}

}  // namespace lockstep::hdf5
