#include "onnx_external.hpp"

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "folder.hpp"
#include "text.hpp"

namespace padre3d {
namespace {

enum class Message {
    model,
    training,
    function,
    graph,
    node,
    attribute,
    sparse,
    tensor,
    entry,
    other
};

constexpr int kDeepest = 100;

/// The message in a field of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, of those that
/// lead to a tensor.
Message inner(Message message, std::uint64_t field) {
    struct Row {
        Message message;
        std::uint64_t field;
        Message inner;
    };
    static const Row rows[] = {
        {Message::model, 7, Message::graph},         {Message::model, 20, Message::training},
        {Message::model, 25, Message::function},     {Message::training, 1, Message::graph},
        {Message::training, 2, Message::graph},      {Message::function, 7, Message::node},
        {Message::function, 11, Message::attribute}, {Message::graph, 1, Message::node},
        {Message::graph, 5, Message::tensor},        {Message::graph, 15, Message::sparse},
        {Message::node, 5, Message::attribute},      {Message::attribute, 5, Message::tensor},
        {Message::attribute, 6, Message::graph},     {Message::attribute, 10, Message::tensor},
        {Message::attribute, 11, Message::graph},    {Message::attribute, 22, Message::sparse},
        {Message::attribute, 23, Message::sparse},   {Message::sparse, 1, Message::tensor},
        {Message::sparse, 2, Message::tensor},       {Message::tensor, 13, Message::entry},
    };
    for (const Row& row : rows) {
        if (row.message == message && row.field == field) return row.inner;
    }
    return Message::other;
}

/// A number of 7 bits a byte, lowest first.
std::uint64_t varint(std::string_view data, std::size_t& at) {
    std::uint64_t value = 0;
    for (int shift = 0; shift <= 63; shift += 7) {
        if (at >= data.size()) fail("a number beyond its end");
        const auto byte = static_cast<unsigned char>(data[at++]);
        value |= static_cast<std::uint64_t>(byte & 127) << shift;
        if (byte < 128) return value;
    }
    fail("a number without end");
}

using Field = std::pair<std::uint64_t, std::string_view>;

/// Numbers and contents of the fields that have a length.
std::vector<Field> fields(std::string_view data) {
    std::vector<Field> found;
    std::size_t at = 0;
    while (at < data.size()) {
        const std::uint64_t tag = varint(data, at);
        switch (tag & 7) {
            case 0: varint(data, at); break;
            case 1: at += 8; break;
            case 5: at += 4; break;
            case 2: {
                const std::uint64_t size = varint(data, at);
                if (size > data.size() - at) fail("a field beyond its end");
                found.emplace_back(tag >> 3, data.substr(at, size));
                at += size;
                break;
            }
            default: fail("a field of type ", tag & 7);
        }
    }
    return found;
}

/// The value of a key-value pair whose key is "location".
void add_location(std::string_view entry, std::set<std::string>& found) {
    bool is_location = false;
    std::set<std::string> values;
    for (const auto& [number, content] : fields(entry)) {
        is_location = is_location || (number == 1 && content == "location");
        if (number == 2) values.emplace(content);
    }
    if (!is_location) return;
    if (values.empty()) values.emplace();
    found.merge(values);
}

}  // namespace

std::set<std::string> external_files(const std::filesystem::path& path) {
    struct Waiting {
        Message message;
        std::string_view data;
        int depth;
    };
    const std::string bytes = read_bytes(path);
    std::set<std::string> found;
    std::vector<Waiting> waiting = {{Message::model, bytes, 0}};
    try {
        while (!waiting.empty()) {
            const Waiting now = waiting.back();
            waiting.pop_back();
            if (now.depth > kDeepest) fail("graphs within graphs without end");
            if (now.message == Message::entry) {
                add_location(now.data, found);
                continue;
            }
            for (const auto& [number, content] : fields(now.data)) {
                const Message message = inner(now.message, number);
                if (message != Message::other) waiting.push_back({message, content, now.depth + 1});
            }
        }
    } catch (const Error& error) {
        fail(path.string(), ": expected an ONNX model that loads, got a damaged file (",
             error.what(), ")");
    }
    return found;
}

}  // namespace padre3d
