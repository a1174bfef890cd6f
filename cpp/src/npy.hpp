#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace padre3d {

/// An array of a .npy or .npz file.
struct NpyArray {
    std::string dtype;  ///< as numpy writes it: <f4, <i4, |b1, ...
    std::vector<std::size_t> shape;
    bool fortran_order = false;
    std::string data;

    std::size_t size() const;
    /// Kind and bytes of the numbers without their byte order: f4, i8, ...
    std::string kind() const { return dtype.substr(1); }
    /// The numbers as float or double, row by row, from any of numpy's real types.
    /// Throws Error if they are none.
    template <class T>
    std::vector<T> numbers() const;
};

/// Parses a .npy file; its header is compared with its size before memory is taken.
/// Throws Error if it is none, is cut off or holds objects.
NpyArray parse_npy(std::string_view bytes);

/// Reads the arrays of a .npz file, plain or deflated, by name.
/// Throws Error if it is damaged, holds anything else or unpacks to more than `most` bytes.
std::map<std::string, NpyArray> read_npz(const std::filesystem::path& path, std::size_t most);

/// A half-precision number as single.
float half_to_float(std::uint16_t half);

}  // namespace padre3d
