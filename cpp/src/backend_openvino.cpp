#include <algorithm>
#include <openvino/openvino.hpp>

#include "backend.hpp"
#include "text.hpp"

namespace padre3d {
namespace {

/// A library's message without its line breaks.
std::string one_line(const std::exception& error) {
    std::istringstream words(error.what());
    std::string result, word;
    while (words >> word) result += (result.empty() ? "" : " ") + word;
    return result;
}

ov::element::Type element_type(Type type) {
    switch (type) {
        case Type::float32: return ov::element::f32;
        case Type::int32: return ov::element::i32;
        case Type::int64: return ov::element::i64;
        case Type::boolean: return ov::element::boolean;
    }
    return ov::element::dynamic;
}

TensorView view_of(const ov::Tensor& tensor, const std::string& name) {
    TensorView view;
    view.shape = tensor.get_shape();
    view.data = tensor.data();
    for (const Type type : {Type::float32, Type::int32, Type::int64, Type::boolean}) {
        if (tensor.get_element_type() == element_type(type)) {
            view.type = type;
            return view;
        }
    }
    fail("outputs: expected float32, int32, int64 or bool, got ",
         tensor.get_element_type().get_type_name(), " in ", name);
}

class OpenVinoGraph : public Graph {
public:
    OpenVinoGraph(ov::Core core, const std::filesystem::path& path, const BackendOptions& options,
                  ov::element::Type precision)
        : path_(path) {
        ov::AnyMap settings = {ov::hint::inference_precision(precision)};
        if (options.threads > 0) settings.emplace(ov::inference_num_threads(options.threads));
        try {
            model_ = core.compile_model(path.string(), "CPU", settings);
            request_ = model_.create_infer_request();
        } catch (const std::exception& error) {
            fail(path.string(), ": expected an ONNX model that loads, got ", one_line(error));
        }
    }

    Tensors run(const Tensors& inputs) override {
        for (const auto& port : model_.inputs()) {
            const TensorView& view = taken(inputs, port.get_any_name(), path_);
            try {
                // OpenVINO does not write to inputs.
                request_.set_tensor(port, ov::Tensor(element_type(view.type), ov::Shape(view.shape),
                                                     const_cast<void*>(view.data)));
            } catch (const std::exception& error) {
                fail(path_.string(), ": expected a model that takes ", port.get_any_name(), " ",
                     shape_text(view.shape), " in ", name_of(view.type), ", got ", one_line(error));
            }
        }
        try {
            request_.infer();
        } catch (const std::exception& error) {
            fail(path_.string(), ": expected a model that runs, got ", one_line(error));
        }
        Tensors outputs;
        for (const auto& port : model_.outputs()) {
            const std::string name = port.get_any_name();
            outputs[name] = view_of(request_.get_tensor(port), name);
        }
        return outputs;
    }

private:
    std::filesystem::path path_;
    ov::CompiledModel model_;
    ov::InferRequest request_;
};

// One for the process, never destroyed: a core that goes while a later one lives leaves the thread
// with an unmapped stack for its signal handlers (padre3d/backends/openvino.py).
ov::Core& shared_core() {
    static ov::Core* const core = new ov::Core;
    return *core;
}

}  // namespace

std::unique_ptr<Graph> open_openvino(const std::filesystem::path& path,
                                     const BackendOptions& options) {
    return std::make_unique<OpenVinoGraph>(shared_core(), path, options, ov::element::f32);
}

std::unique_ptr<Graph> open_openvino_bf16(const std::filesystem::path& path,
                                          const BackendOptions& options) {
    ov::Core& core = shared_core();
    const auto able = core.get_property("CPU", ov::device::capabilities);
    if (std::find(able.begin(), able.end(), ov::device::capability::BF16) == able.end()) {
        fail("backend 'openvino-bf16': expected a processor with bfloat16, got another");
    }
    return std::make_unique<OpenVinoGraph>(core, path, options, ov::element::bf16);
}

}  // namespace padre3d
