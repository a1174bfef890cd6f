#include "sha256.hpp"

#include <array>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <vector>

#include "text.hpp"

namespace padre3d {
namespace {

constexpr std::array<std::uint32_t, 64> kConstants = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

std::uint32_t turned(std::uint32_t value, int bits) { return value >> bits | value << (32 - bits); }

class Digest {
public:
    void block(const unsigned char* bytes) {
        std::array<std::uint32_t, 64> w;
        for (std::size_t i = 0; i < 16; ++i) {
            w[i] = static_cast<std::uint32_t>(bytes[4 * i]) << 24 |
                   static_cast<std::uint32_t>(bytes[4 * i + 1]) << 16 |
                   static_cast<std::uint32_t>(bytes[4 * i + 2]) << 8 | bytes[4 * i + 3];
        }
        for (std::size_t i = 16; i < 64; ++i) {
            const std::uint32_t a = w[i - 15], b = w[i - 2];
            w[i] = w[i - 16] + w[i - 7] + (turned(a, 7) ^ turned(a, 18) ^ a >> 3) +
                   (turned(b, 17) ^ turned(b, 19) ^ b >> 10);
        }
        auto [a, b, c, d, e, f, g, h] = state_;
        for (std::size_t i = 0; i < 64; ++i) {
            const std::uint32_t one = h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) +
                                      ((e & f) ^ (~e & g)) + kConstants[i] + w[i];
            const std::uint32_t two =
                (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
            h = g, g = f, f = e, e = d + one, d = c, c = b, b = a, a = one + two;
        }
        const std::array<std::uint32_t, 8> added = {a, b, c, d, e, f, g, h};
        for (std::size_t i = 0; i < 8; ++i) state_[i] += added[i];
    }

    /// The rest of a message of `length` bytes, fewer than 64 of which are left.
    void finish(const unsigned char* rest, std::uint64_t length) {
        std::array<unsigned char, 128> last{};
        const std::size_t left = length % 64;
        std::memcpy(last.data(), rest, left);
        last[left] = 0x80;
        const std::size_t end = left < 56 ? 64 : 128;
        for (std::size_t i = 0; i < 8; ++i) {
            last[end - 1 - i] = static_cast<unsigned char>(length * 8 >> (8 * i));
        }
        for (std::size_t at = 0; at < end; at += 64) block(last.data() + at);
    }

    std::string digits() const {
        std::string result;
        for (const std::uint32_t word : state_) {
            for (int shift = 28; shift >= 0; shift -= 4) {
                result += "0123456789abcdef"[word >> shift & 15];
            }
        }
        return result;
    }

private:
    std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                           0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
};

}  // namespace

std::string sha256(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) fail(path.string(), ": expected a file that can be read");
    std::vector<char> bytes(1 << 20);
    Digest digest;
    std::uint64_t length = 0;
    std::size_t got = 0;
    const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
    do {
        file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
        got = static_cast<std::size_t>(file.gcount());
        length += got;
        for (std::size_t at = 0; at + 64 <= got; at += 64) digest.block(data + at);
    } while (got == bytes.size());
    if (file.bad()) fail(path.string(), ": expected a file that can be read");
    digest.finish(data + got / 64 * 64, length);
    return digest.digits();
}

}  // namespace padre3d
