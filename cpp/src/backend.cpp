#include "backend.hpp"

#include "text.hpp"

namespace padre3d {
namespace {

struct Backend {
    const char* name;
    std::unique_ptr<Graph> (*open)(const std::filesystem::path&, const BackendOptions&);
};

/// The last one is none.
constexpr Backend kBackends[] = {
#ifdef PADRE3D_TENSORRT
    {"tensorrt", open_tensorrt},
#endif
#ifdef PADRE3D_OPENVINO
    {"openvino", open_openvino},
    {"openvino-bf16", open_openvino_bf16},
#endif
    {nullptr, nullptr}};

std::string known() {
    std::string names;
    for (const Backend& backend : kBackends) {
        if (backend.name != nullptr) names += std::string(names.empty() ? "" : ", ") + backend.name;
    }
    return names.empty() ? "none: this library was built without one" : names;
}

}  // namespace

std::string default_backend() { return kBackends[0].name == nullptr ? "" : kBackends[0].name; }

std::unique_ptr<Graph> open_graph(const std::string& backend, const std::filesystem::path& path,
                                  const BackendOptions& options) {
    const std::string name = backend.empty() ? default_backend() : backend;
    for (const Backend& entry : kBackends) {
        if (entry.name != nullptr && name == entry.name) return entry.open(path, options);
    }
    fail("backend: expected one of ", known(), ", got ", in_quotes(name));
}

const TensorView& taken(const Tensors& inputs, const std::string& name,
                        const std::filesystem::path& path) {
    const auto found = inputs.find(name);
    if (found == inputs.end()) {
        std::string names;
        for (const auto& entry : inputs) names += (names.empty() ? "" : ", ") + entry.first;
        fail(path.string(), ": expected a model with the inputs ", names, ", got one with ",
             in_quotes(name));
    }
    return found->second;
}

}  // namespace padre3d
