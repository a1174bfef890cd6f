#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace padre3d {

/// Unpacks a DEFLATE stream (RFC 1951) of known unpacked size; never takes more memory than that.
/// Throws Error if the stream is damaged or of another size.
std::string inflate(std::string_view packed, std::size_t size);

/// CRC-32 as zip files have it.
std::uint32_t crc32(std::string_view data);

}  // namespace padre3d
