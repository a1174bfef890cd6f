#pragma once

#include <string>
#include <vector>

namespace padre3d {

/// The rows of a CSV file as Python's csv module reads them: cells between commas, in quotes where
/// they hold commas or line ends, a quote in quotes doubled. An empty line is a row without cells.
std::vector<std::vector<std::string>> csv_rows(const std::string& content);

}  // namespace padre3d
