#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "grid.hpp"

namespace padre3d {

inline constexpr const char* kManifest = "manifest.json";
inline constexpr const char* kTables = "tables.npz";

/// Post-processing; see padre3d/structures/decode_settings.py.
struct DecodeSettings {
    double score_thr = 0;
    std::array<double, 6> centre_range_m{};
    std::optional<std::vector<double>> iou_alpha;  ///< one for each class
    std::vector<std::int64_t> nms_classes;
    double nms_iou = 0;
    std::int64_t nms_max = 0;
    std::optional<std::int64_t> nms_pre;
    double nms_score_thr = 0;
    bool nms_rotated = true;
};

/// One ONNX file.
struct Part {
    std::string file;
    std::vector<std::string> inputs, outputs;
};

/// A graph in one or several parts, in the order they run.
struct Model {
    std::optional<std::size_t> pillars;  ///< the fixed number it takes
    std::optional<std::size_t> sets;     ///< the fixed number of sets
    std::vector<Part> parts;

    bool has_input(const std::string& name) const;
};

/// What an exported folder says about itself; the twin of padre3d/runtime/manifest.py.
struct Manifest {
    std::int64_t format = 0;
    std::string precision;
    std::vector<std::string> classes;
    Grid grid, head_grid;
    DecodeSettings decode;
    std::size_t point_columns = 0;
    std::string layout;                   ///< sequence, set or grid
    std::optional<std::size_t> set_size;  ///< slots of a set, in set form
    std::vector<Model> models;
    std::map<std::string, std::string> sha256;

    /// What this folder calls a graph input or table: format 2 had other names for two of them.
    std::string own_name(const std::string& name) const;
};

/// The outputs that boxes are made of.
inline constexpr std::array<const char*, 9> kDecoded = {
    "center",      "height", "dim", "rot", "vel", "iou", "heatmap", "query_heatmap_score",
    "query_labels"};

/// Reads a folder's manifest and checks every file against its checksum.
/// Throws Error if a file is missing, the manifest is none of a known format, names anything but
/// files inside the folder, or a file is not the exported one any more.
Manifest read_manifest(const std::filesystem::path& folder);

/// Reads a folder's manifest without looking at the files it names.
/// Throws Error as read_manifest.
Manifest parse_manifest(const std::filesystem::path& folder);

}  // namespace padre3d
