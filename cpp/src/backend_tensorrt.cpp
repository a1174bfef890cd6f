// TensorRT 10: runs an engine that was built on this very device; see docs/cpp.md.

#include <NvInfer.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

#include "backend.hpp"
#include "folder.hpp"
#include "sha256.hpp"
#include "text.hpp"

namespace padre3d {
namespace fs = std::filesystem;
namespace {

/// Keeps the last error, so that it can be part of a message.
class Collector : public nvinfer1::ILogger {
public:
    void log(Severity severity, const char* message) noexcept override {
        if (severity > Severity::kERROR) return;
        try {
            last = message;
        } catch (...) {
        }
    }

    std::string last;
};

void check(cudaError_t status, const char* call) {
    if (status != cudaSuccess) fail(call, ": ", cudaGetErrorString(status));
}

/// Memory on the device that grows and is freed with its owner.
class DeviceBuffer {
public:
    DeviceBuffer() = default;
    DeviceBuffer(const DeviceBuffer&) = delete;
    DeviceBuffer& operator=(const DeviceBuffer&) = delete;
    ~DeviceBuffer() { cudaFree(address_); }

    void* grown(std::size_t bytes) {
        if (bytes > held_) {
            check(cudaFree(address_), "cudaFree");
            address_ = nullptr, held_ = 0;
            check(cudaMalloc(&address_, bytes), "cudaMalloc");
            held_ = bytes;
        }
        return address_;
    }

private:
    void* address_ = nullptr;
    std::size_t held_ = 0;
};

nvinfer1::Dims dims_of(const std::vector<std::size_t>& shape) {
    nvinfer1::Dims dims{};
    dims.nbDims = static_cast<std::int32_t>(shape.size());
    if (shape.size() > nvinfer1::Dims::MAX_DIMS)
        fail("expected at most 8 axes, got ", shape.size());
    std::copy(shape.begin(), shape.end(), dims.d);
    return dims;
}

Type type_of(nvinfer1::DataType type, const std::string& name) {
    switch (type) {
        case nvinfer1::DataType::kFLOAT: return Type::float32;
        case nvinfer1::DataType::kINT32: return Type::int32;
        case nvinfer1::DataType::kINT64: return Type::int64;
        case nvinfer1::DataType::kBOOL: return Type::boolean;
        default: fail("engine: expected float32, int32, int64 or bool, got another type of ", name);
    }
}

class TensorRtGraph : public Graph {
public:
    TensorRtGraph(const fs::path& engine, const fs::path& model) : path_(model) {
        const std::string bytes = read_bytes(engine);
        runtime_.reset(nvinfer1::createInferRuntime(log_));
        if (runtime_) engine_.reset(runtime_->deserializeCudaEngine(bytes.data(), bytes.size()));
        if (engine_) context_.reset(engine_->createExecutionContext());
        if (!context_) {
            fail(engine.string(),
                 ": expected an engine for this GPU and TensorRT; build it again (", log_.last,
                 ")");
        }
        check(cudaStreamCreate(&stream_), "cudaStreamCreate");
    }

    ~TensorRtGraph() override { cudaStreamDestroy(stream_); }

    std::optional<std::pair<std::size_t, std::size_t>> limits() const override {
        for (const std::string& name : names(nvinfer1::TensorIOMode::kINPUT)) {
            // The inputs with a row for each pillar: of a model or its first part, of its second.
            if (name != "features" && name != "backbone_features") continue;
            const auto rows = [&](nvinfer1::OptProfileSelector which) {
                return static_cast<std::size_t>(
                    engine_->getProfileShape(name.c_str(), 0, which).d[0]);
            };
            return std::pair{rows(nvinfer1::OptProfileSelector::kMIN),
                             rows(nvinfer1::OptProfileSelector::kMAX)};
        }
        return {};
    }

    Tensors run(const Tensors& inputs) override {
        for (const std::string& name : names(nvinfer1::TensorIOMode::kINPUT)) {
            upload(name, taken(inputs, name, path_));
        }
        const std::vector<std::string> wanted = names(nvinfer1::TensorIOMode::kOUTPUT);
        for (const std::string& name : wanted) place_output(name);
        if (!context_->enqueueV3(stream_)) {
            fail(path_.string(), ": expected an engine that runs, got ", log_.last);
        }
        Tensors outputs;
        for (const std::string& name : wanted) outputs[name] = download(name);
        check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
        return outputs;
    }

private:
    std::vector<std::string> names(nvinfer1::TensorIOMode mode) const {
        std::vector<std::string> found;
        for (std::int32_t i = 0; i < engine_->getNbIOTensors(); ++i) {
            const char* name = engine_->getIOTensorName(i);
            if (engine_->getTensorIOMode(name) == mode) found.emplace_back(name);
        }
        return found;
    }

    void upload(const std::string& name, const TensorView& view) {
        const std::size_t bytes = view.size() * bytes_of(view.type);
        const bool fits = type_of(engine_->getTensorDataType(name.c_str()), name) == view.type &&
                          context_->setInputShape(name.c_str(), dims_of(view.shape));
        if (!fits) {
            fail(path_.string(), ": expected an engine that takes ", name, " ",
                 shape_text(view.shape), " in ", name_of(view.type), ": ", log_.last);
        }
        void* address = buffers_[name].grown(bytes);
        check(cudaMemcpyAsync(address, view.data, bytes, cudaMemcpyHostToDevice, stream_),
              "cudaMemcpyAsync");
        context_->setTensorAddress(name.c_str(), address);
    }

    void place_output(const std::string& name) {
        TensorView& view = views_[name];
        const nvinfer1::Dims dims = context_->getTensorShape(name.c_str());
        view.type = type_of(engine_->getTensorDataType(name.c_str()), name);
        view.shape.assign(dims.d, dims.d + std::max(dims.nbDims, 0));
        std::vector<char>& host = hosts_[name];
        host.resize(view.size() * bytes_of(view.type));
        view.data = host.data();
        context_->setTensorAddress(name.c_str(), buffers_[name].grown(host.size()));
    }

    TensorView download(const std::string& name) {
        std::vector<char>& host = hosts_[name];
        void* address = buffers_[name].grown(host.size());
        check(cudaMemcpyAsync(host.data(), address, host.size(), cudaMemcpyDeviceToHost, stream_),
              "cudaMemcpyAsync");
        return views_[name];
    }

    fs::path path_;
    Collector log_;
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    cudaStream_t stream_ = nullptr;
    std::map<std::string, DeviceBuffer> buffers_;
    std::map<std::string, std::vector<char>> hosts_;
    Tensors views_;
};

/// The engine of a model for the most pillars, by the names of tools/build_engine.py:
/// MODEL-SHA256-tensorrt-VERSION-MIN-OPT-MAX.engine.
fs::path engine_of(const fs::path& model, const fs::path& folder) {
    const std::string start =
        text(model.stem().string(), "-", sha256(model).substr(0, 12), "-tensorrt-",
             NV_TENSORRT_MAJOR, ".", NV_TENSORRT_MINOR, ".", NV_TENSORRT_PATCH);
    fs::path found;
    long most = -1;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
        const std::string name = entry.path().stem().string();
        const bool is_of_model = entry.path().extension() == ".engine" &&
                                 name.compare(0, start.size(), start) == 0 &&
                                 (name[start.size()] == '-' || name[start.size()] == '.');
        if (!is_of_model) continue;
        const long pillars = std::strtol(name.c_str() + name.rfind('-') + 1, nullptr, 10);
        if (pillars > most) most = pillars, found = entry.path();
    }
    if (most < 0) {
        fail(folder.string(), ": expected ", start,
             "-MIN-OPT-MAX.engine, found none; build it on this device (docs/cpp.md)");
    }
    return found;
}

}  // namespace

std::unique_ptr<Graph> open_tensorrt(const fs::path& path, const BackendOptions& options) {
    int devices = 0;
    const cudaError_t status = cudaGetDeviceCount(&devices);
    if (status != cudaSuccess || devices == 0) {
        fail("backend 'tensorrt': expected a CUDA device, got none (", cudaGetErrorString(status),
             ")");
    }
    const bool is_default = options.engines.empty();
    const fs::path folder = is_default ? path.parent_path() / "engines" : options.engines;
    return std::make_unique<TensorRtGraph>(engine_of(path, folder), path);
}

}  // namespace padre3d
