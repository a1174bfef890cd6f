#pragma once

#include <string>
#include <vector>

#include "padre3d/detector.hpp"

namespace padre3d {

/// The JSON that `padre3d detect` writes, numbers rounded to four digits.
std::string boxes_to_json(const std::vector<Box>& boxes, const std::vector<std::string>& names);

}  // namespace padre3d
