#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "tensor.hpp"

namespace padre3d {

struct BackendOptions {
    int threads = 0;                ///< on the CPU; 0: one for each core
    std::filesystem::path engines;  ///< of TensorRT; empty: `engines` beside the model
};

/// A model file, ready to run.
class Graph {
public:
    Graph() = default;
    Graph(const Graph&) = delete;
    Graph& operator=(const Graph&) = delete;
    virtual ~Graph() = default;

    /// Inputs by name, of which it takes those that it has, to outputs by name, which live until
    /// the next call. Throws Error if an input is missing or the model does not run.
    virtual Tensors run(const Tensors& inputs) = 0;

    /// Least and most pillars that it takes, none without a limit of its own.
    virtual std::optional<std::pair<std::size_t, std::size_t>> limits() const { return {}; }
};

/// Opens a model file in a backend.
/// Throws Error if there is no backend of that name in this library, it has no device, or the file
/// is no model that it can read.
std::unique_ptr<Graph> open_graph(const std::string& backend, const std::filesystem::path& path,
                                  const BackendOptions& options);

/// The backend of an empty name: the first that is built in.
std::string default_backend();

/// The input of this name. Throws Error, with the names there are, if there is none.
const TensorView& taken(const Tensors& inputs, const std::string& name,
                        const std::filesystem::path& path);

#ifdef PADRE3D_OPENVINO
std::unique_ptr<Graph> open_openvino(const std::filesystem::path& path,
                                     const BackendOptions& options);
/// Where the processor multiplies bfloat16; files of 8 bit run in 8 bit in both.
std::unique_ptr<Graph> open_openvino_bf16(const std::filesystem::path& path,
                                          const BackendOptions& options);
#endif
#ifdef PADRE3D_TENSORRT
std::unique_ptr<Graph> open_tensorrt(const std::filesystem::path& path,
                                     const BackendOptions& options);
#endif

}  // namespace padre3d
