#pragma once

#include <string>
#include <vector>

#include "padre3d/detector.hpp"

namespace padre3d {

/// The JSON that `padre3d detect` writes, numbers rounded to four digits; a velocity that is NaN is
/// null. Throws Error if another number is not finite, a size is not positive or a label has no
/// name.
std::string boxes_to_json(const std::vector<Box>& boxes, const std::vector<std::string>& names);

}  // namespace padre3d
