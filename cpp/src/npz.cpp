#include <cstdint>

#include "folder.hpp"
#include "inflate.hpp"
#include "npy.hpp"
#include "text.hpp"

namespace padre3d {
namespace {

constexpr std::size_t kEndBytes = 22, kEntryBytes = 46, kLocalBytes = 30;

/// Little-endian numbers of an archive whose every access is checked.
class Archive {
public:
    explicit Archive(std::string_view bytes) : bytes_(bytes) {}

    std::size_t size() const { return bytes_.size(); }

    std::string_view at(std::size_t start, std::size_t count) const {
        if (start > bytes_.size() || count > bytes_.size() - start)
            fail("an archive that is cut off");
        return bytes_.substr(start, count);
    }

    std::uint32_t number(std::size_t start, std::size_t width) const {
        const std::string_view taken = at(start, width);
        std::uint32_t value = 0;
        for (std::size_t i = 0; i < width; ++i) {
            value |= static_cast<std::uint32_t>(static_cast<unsigned char>(taken[i])) << (8 * i);
        }
        return value;
    }

private:
    std::string_view bytes_;
};

struct Member {
    std::string name;
    std::uint32_t flags, method, crc, packed, size, start;
    std::size_t entry_bytes;
};

/// Where the end record is: the last place that looks like one.
std::size_t end_record(const Archive& archive) {
    const std::size_t size = archive.size();
    for (std::size_t back = kEndBytes; back <= size && back < kEndBytes + 65536; ++back) {
        if (archive.at(size - back, 4) == "PK\x05\x06") return size - back;
    }
    fail("no archive");
}

Member member_at(const Archive& archive, std::size_t at) {
    if (archive.at(at, 4) != "PK\x01\x02") fail("an archive with a damaged list");
    Member member;
    member.flags = archive.number(at + 8, 2);
    member.method = archive.number(at + 10, 2);
    member.crc = archive.number(at + 16, 4);
    member.packed = archive.number(at + 20, 4);
    member.size = archive.number(at + 24, 4);
    const std::size_t name = archive.number(at + 28, 2);
    const std::size_t extra = archive.number(at + 30, 2) + archive.number(at + 32, 2);
    member.start = archive.number(at + 42, 4);
    member.name = std::string(archive.at(at + kEntryBytes, name));
    member.entry_bytes = kEntryBytes + name + extra;
    return member;
}

std::string unpacked(const Archive& archive, const Member& member) {
    if ((member.flags & 1) != 0) fail("an encrypted archive");
    if (archive.at(member.start, 4) != "PK\x03\x04") fail("an archive with a damaged member");
    const std::size_t skipped =
        kLocalBytes + archive.number(member.start + 26, 2) + archive.number(member.start + 28, 2);
    const std::string_view packed = archive.at(member.start + skipped, member.packed);
    std::string data;
    if (member.method == 8) {
        data = inflate(packed, member.size);
    } else if (member.method == 0 && member.packed == member.size) {
        data = std::string(packed);
    } else {
        fail("an archive packed in way ", member.method);
    }
    if (crc32(data) != member.crc) fail("a wrong checksum of ", in_quotes(member.name));
    return data;
}

std::vector<Member> members_of(const Archive& archive, std::size_t most) {
    const std::size_t end = end_record(archive);
    const std::size_t count = archive.number(end + 10, 2);
    std::size_t at = archive.number(end + 16, 4), promised = 0;
    std::vector<Member> members;
    for (std::size_t i = 0; i < count; ++i) {
        members.push_back(member_at(archive, at));
        at += members.back().entry_bytes;
        promised += members.back().size;
    }
    if (promised > most) fail(promised, " bytes unpacked, more than ", most);
    return members;
}

}  // namespace

std::map<std::string, NpyArray> read_npz(const std::filesystem::path& path, std::size_t most) {
    const std::string bytes = read_bytes(path);
    std::map<std::string, NpyArray> arrays;
    try {
        const Archive archive(bytes);
        for (const Member& member : members_of(archive, most)) {
            const std::string& name = member.name;
            const bool is_array = name.size() > 4 && name.substr(name.size() - 4) == ".npy";
            if (!is_array) fail("no array in ", in_quotes(name));
            NpyArray array = parse_npy(unpacked(archive, member));
            if (!arrays.emplace(name.substr(0, name.size() - 4), std::move(array)).second) {
                fail("two arrays of the name ", in_quotes(name));
            }
        }
    } catch (const Error& error) {
        fail(path.string(), ": expected the arrays of an export, got ", error.what());
    }
    return arrays;
}

}  // namespace padre3d
