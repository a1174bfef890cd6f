#include "inflate.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "text.hpp"

namespace padre3d {
namespace {

constexpr int kMostBits = 15;
constexpr std::size_t kMostRatio = 1032;  // 258 bytes of two bits
constexpr std::size_t kLiterals = 288, kDistances = 32;

/// Bits of a stream, the lowest of a byte first.
class Bits {
public:
    explicit Bits(std::string_view data) : data_(data) {}

    std::uint32_t take(int count) {
        std::uint32_t value = 0;
        for (int i = 0; i < count; ++i) value |= bit() << i;
        return value;
    }

    std::uint32_t bit() {
        if (at_ >= data_.size() * 8) fail("a stream that is cut off");
        const std::uint32_t value = static_cast<unsigned char>(data_[at_ / 8]) >> (at_ % 8) & 1U;
        ++at_;
        return value;
    }

    /// Whole bytes from the next one on.
    std::string_view bytes(std::size_t count) {
        const std::size_t start = (at_ + 7) / 8;
        if (count > data_.size() - std::min(start, data_.size())) fail("a stream that is cut off");
        at_ = (start + count) * 8;
        return data_.substr(start, count);
    }

private:
    std::string_view data_;
    std::size_t at_ = 0;
};

/// A canonical Huffman code: symbols by length, then by value.
class Code {
public:
    Code(const std::uint8_t* lengths, std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) ++counts_[lengths[i]];
        counts_[0] = 0;
        std::array<std::size_t, kMostBits + 2> first{};
        int left = 1;
        for (std::size_t length = 1; length <= kMostBits; ++length) {
            left = 2 * left - static_cast<int>(counts_[length]);
            if (left < 0) fail("a code with too many symbols");
            first[length + 1] = first[length] + counts_[length];
        }
        symbols_.resize(first[kMostBits + 1]);
        for (std::size_t i = 0; i < count; ++i) {
            if (lengths[i] != 0) symbols_[first[lengths[i]]++] = static_cast<std::uint16_t>(i);
        }
    }

    std::size_t next(Bits& bits) const {
        std::size_t code = 0, first = 0, index = 0;
        for (std::size_t length = 1; length <= kMostBits; ++length) {
            code = code << 1 | bits.bit();
            if (code < first + counts_[length]) return symbols_[index + code - first];
            index += counts_[length];
            first = (first + counts_[length]) << 1;
        }
        fail("a code without a symbol");
    }

private:
    std::array<std::size_t, kMostBits + 1> counts_{};
    std::vector<std::uint16_t> symbols_;
};

class Inflater {
public:
    Inflater(std::string_view packed, std::size_t size) : bits_(packed), size_(size) {
        if (size / kMostRatio > packed.size()) fail(packed.size(), " bytes that unpack to ", size);
        out_.reserve(size);
    }

    std::string run() {
        bool last = false;
        while (!last) {
            last = bits_.bit() != 0;
            switch (bits_.take(2)) {
                case 0: stored(); break;
                case 1: fixed(); break;
                case 2: dynamic(); break;
                default: fail("a block of an unknown kind");
            }
        }
        if (out_.size() != size_) fail(out_.size(), " unpacked bytes instead of ", size_);
        return std::move(out_);
    }

private:
    void stored() {
        const std::string_view head = bits_.bytes(4);
        const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(head[i]); };
        const std::size_t length = byte(0) | static_cast<std::size_t>(byte(1)) << 8;
        const std::size_t inverse = byte(2) | static_cast<std::size_t>(byte(3)) << 8;
        if (length != (~inverse & 0xffff)) fail("a stored block of two lengths");
        check_room(length);
        out_.append(bits_.bytes(length));
    }

    void fixed() {
        std::array<std::uint8_t, kLiterals> literals;
        for (std::size_t i = 0; i < kLiterals; ++i) {
            literals[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
        }
        std::array<std::uint8_t, 30> distances;
        distances.fill(5);
        block(Code(literals.data(), literals.size()), Code(distances.data(), distances.size()));
    }

    void dynamic() {
        static constexpr std::array<std::uint8_t, 19> order = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                                               11, 4,  12, 3, 13, 2, 14, 1, 15};
        const std::size_t literals = bits_.take(5) + 257, distances = bits_.take(5) + 1;
        const std::size_t given = bits_.take(4) + 4;
        std::array<std::uint8_t, 19> own{};
        for (std::size_t i = 0; i < given; ++i)
            own[order[i]] = static_cast<std::uint8_t>(bits_.take(3));
        const Code code(own.data(), own.size());
        std::array<std::uint8_t, kLiterals + kDistances> lengths{};
        for (std::size_t at = 0; at < literals + distances;) {
            const std::size_t symbol = code.next(bits_);
            if (symbol < 16) {
                lengths[at++] = static_cast<std::uint8_t>(symbol);
                continue;
            }
            if (symbol == 16 && at == 0) fail("a length that repeats none");
            const std::uint8_t value = symbol == 16 ? lengths[at - 1] : std::uint8_t{0};
            const std::size_t times = symbol == 16   ? 3 + bits_.take(2)
                                      : symbol == 17 ? 3 + bits_.take(3)
                                                     : 11 + bits_.take(7);
            if (times > literals + distances - at) fail("more lengths than there are symbols");
            std::fill_n(lengths.begin() + static_cast<std::ptrdiff_t>(at), times, value);
            at += times;
        }
        if (literals > 286 || distances > 30 || lengths[256] == 0) fail("a code without an end");
        block(Code(lengths.data(), literals), Code(lengths.data() + literals, distances));
    }

    void block(const Code& literals, const Code& distances) {
        while (true) {
            const std::size_t symbol = literals.next(bits_);
            if (symbol == 256) return;
            if (symbol < 256) {
                check_room(1);
                out_ += static_cast<char>(symbol);
            } else {
                copy(symbol - 257, distances);
            }
        }
    }

    /// Bytes that were there before, perhaps some that this very copy makes.
    void copy(std::size_t symbol, const Code& distances) {
        if (symbol > 28) fail("a length without a meaning");
        std::size_t length = 258;
        if (symbol < 28) {
            const std::size_t extra = symbol < 8 ? 0 : symbol / 4 - 1;
            const std::size_t base = symbol < 8 ? symbol : (4 + symbol % 4) << extra;
            length = 3 + base + bits_.take(static_cast<int>(extra));
        }
        const std::size_t step = distances.next(bits_);
        if (step > 29) fail("a distance without a meaning");
        const std::size_t extra = step < 4 ? 0 : step / 2 - 1;
        const std::size_t base = step < 4 ? step : (2 + step % 2) << extra;
        const std::size_t distance = 1 + base + bits_.take(static_cast<int>(extra));
        if (distance > out_.size()) fail("a distance beyond the start");
        check_room(length);
        for (std::size_t i = 0; i < length; ++i) out_ += out_[out_.size() - distance];
    }

    void check_room(std::size_t more) const {
        if (more > size_ - out_.size()) fail("more than ", size_, " unpacked bytes");
    }

    Bits bits_;
    std::size_t size_;
    std::string out_;
};

}  // namespace

std::string inflate(std::string_view packed, std::size_t size) {
    return Inflater(packed, size).run();
}

std::uint32_t crc32(std::string_view data) {
    static const auto table = [] {
        std::array<std::uint32_t, 256> made{};
        for (std::uint32_t i = 0; i < 256; ++i) {
            std::uint32_t value = i;
            for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1U ? 0xedb88320U : 0U);
            made[i] = value;
        }
        return made;
    }();
    std::uint32_t sum = 0xffffffffU;
    for (const char byte : data)
        sum = sum >> 8 ^ table[(sum ^ static_cast<unsigned char>(byte)) & 255U];
    return ~sum;
}

}  // namespace padre3d
