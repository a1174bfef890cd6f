#pragma once

#include <filesystem>
#include <set>
#include <string>

namespace padre3d {

/// Which other files an ONNX file reads its weights from, as it has them; the twin of
/// padre3d/runtime/onnx_external.py.
/// Throws Error if the file is no protobuf message, or nested too deep to be a model.
std::set<std::string> external_files(const std::filesystem::path& path);

}  // namespace padre3d
