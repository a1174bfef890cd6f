#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "padre3d/cloud.hpp"

namespace padre3d {

/// Rows of numbers without names.
struct RawTable {
    std::vector<double> values;
    std::size_t columns = 0;
    std::string kind;  ///< type of the file's numbers: f4, i8, ...

    std::size_t rows() const { return columns == 0 ? 0 : values.size() / columns; }
    std::vector<double> column(std::size_t number) const;
};

/// Reads a .bin file, which says nothing about itself; the twin of padre3d/io/binary.py.
/// Throws Error if it is empty or cut off, or its columns cannot be told.
RawTable read_bin(const std::filesystem::path& path, const ReadOptions& options);

/// Reads a (P, 3 to 5) array of a .npy file.
/// Throws Error for anything else, and for a file shorter than its header promises.
RawTable read_npy(const std::filesystem::path& path, const ReadOptions& options);

/// Whether all finite values are whole numbers, as ring indices are.
bool is_whole(const std::vector<double>& values);

}  // namespace padre3d
