// What cpp/src/backend_tensorrt.cpp calls of TensorRT 10, with the same signatures. An engine is a
// file "MIN MAX INPUT"; it doubles that input (N, 3), `features` if none is named, into `doubled`, and counts its rows in `rows` (1,).
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>

#define NV_TENSORRT_MAJOR 10
#define NV_TENSORRT_MINOR 3
#define NV_TENSORRT_PATCH 0

namespace nvinfer1 {

class Dims64 {
public:
    static constexpr std::int32_t MAX_DIMS{8};
    std::int32_t nbDims;
    std::int64_t d[MAX_DIMS];
};
using Dims = Dims64;
enum class DataType : std::int32_t { kFLOAT, kHALF, kINT8, kINT32, kBOOL, kINT64 = 8 };
enum class TensorIOMode : std::int32_t { kNONE, kINPUT, kOUTPUT };
enum class OptProfileSelector : std::int32_t { kMIN, kOPT, kMAX };

class ILogger {
public:
    enum class Severity : std::int32_t { kINTERNAL_ERROR, kERROR, kWARNING, kINFO };
    virtual void log(Severity severity, char const* message) noexcept = 0;
    virtual ~ILogger() = default;
};

class IExecutionContext {
public:
    IExecutionContext(ILogger& log, std::int64_t least, std::int64_t most, std::string input)
        : log_(log), least_(least), most_(most), input_(std::move(input)) {}
    bool setInputShape(char const*, Dims const& dims) {
        rows_ = dims.d[0];
        const bool fits = dims.nbDims == 2 && dims.d[1] == 3 && rows_ >= least_ && rows_ <= most_;
        if (!fits) log_.log(ILogger::Severity::kERROR, "a shape beyond the profile");
        return fits;
    }
    Dims getTensorShape(char const* name) const {
        return name == std::string("rows") ? Dims{1, {1}} : Dims{2, {rows_, 3}};
    }
    bool setTensorAddress(char const* name, void* address) {
        addresses_[name] = address;
        return true;
    }
    template <class Stream>
    bool enqueueV3(Stream) {
        const auto* from = static_cast<const float*>(addresses_[input_]);
        auto* to = static_cast<float*>(addresses_["doubled"]);
        std::transform(from, from + 3 * rows_, to, [](float v) { return 2 * v; });
        *static_cast<std::int64_t*>(addresses_["rows"]) = rows_;
        return true;
    }

private:
    ILogger& log_;
    std::int64_t least_, most_, rows_ = 0;
    std::string input_;
    std::map<std::string, void*> addresses_;
};

class ICudaEngine {
public:
    ICudaEngine(ILogger& log, std::int64_t least, std::int64_t most, std::string input)
        : log_(log), least_(least), most_(most), input_(std::move(input)) {}
    IExecutionContext* createExecutionContext() {
        return new IExecutionContext(log_, least_, most_, input_);
    }
    std::int32_t getNbIOTensors() const { return 3; }
    char const* getIOTensorName(std::int32_t i) const {
        char const* names[] = {input_.c_str(), "doubled", "rows"};
        return names[i];
    }
    TensorIOMode getTensorIOMode(char const* name) const {
        return name == input_ ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
    }
    DataType getTensorDataType(char const* name) const {
        return name == std::string("rows") ? DataType::kINT64 : DataType::kFLOAT;
    }
    Dims getProfileShape(char const*, std::int32_t, OptProfileSelector which) const {
        return {2, {which == OptProfileSelector::kMIN ? least_ : most_, 3}};
    }

private:
    ILogger& log_;
    std::int64_t least_, most_;
    std::string input_;
};

class IRuntime {
public:
    explicit IRuntime(ILogger& log) : log_(log) {}
    ICudaEngine* deserializeCudaEngine(void const* bytes, std::size_t size) {
        long least = 0, most = 0;
        const std::string text(static_cast<const char*>(bytes), size);
        char input[99] = "features";
        if (std::sscanf(text.c_str(), "%ld %ld %98s", &least, &most, input) >= 2) {
            return new ICudaEngine(log_, least, most, input);
        }
        log_.log(ILogger::Severity::kERROR, "a magic tag that does not match");
        return nullptr;
    }

private:
    ILogger& log_;
};

inline IRuntime* createInferRuntime(ILogger& log) { return new IRuntime(log); }

}  // namespace nvinfer1
