#pragma once

#include <optional>
#include <string>
#include <vector>

namespace padre3d {

/// Lag in s of an unnamed fifth column: a lag, stamps in whatever unit and with whatever offset, a
/// ring index or something else, for which it is 0. The rules of padre3d/io/time_field.py.
///
/// `kind`: type of the file's numbers. `time_lag`: whether it is a lag, none: its values tell.
/// `warning` is set where the column is neither a ring index nor a time.
/// Throws Error if it is no lag though `time_lag` says so.
std::vector<double> column_lag(const std::vector<double>& values, const std::string& kind,
                               std::optional<bool> time_lag, std::string& warning);

}  // namespace padre3d
