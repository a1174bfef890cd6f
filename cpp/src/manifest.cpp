#include "manifest.hpp"

#include <algorithm>
#include <set>

#include "folder.hpp"
#include "json_field.hpp"
#include "onnx_external.hpp"
#include "printable.hpp"
#include "text.hpp"

namespace padre3d {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t kMostCount = 1 << 24;

void check_unique(const char* what, const std::vector<std::string>& names) {
    std::set<std::string> seen;
    for (const std::string& name : names) {
        if (!seen.insert(name).second) {
            fail("expected different ", what, ", got ", in_quotes(name), " twice");
        }
    }
}

void check_file_name(const std::string& name) {
    if (!is_plain_name(name) || name == kManifest) {
        fail("expected the plain name of a file in the folder, got ", in_quotes(name));
    }
}

std::optional<std::size_t> count_or_null(const Field& field) {
    if (field.is_null()) return std::nullopt;
    return static_cast<std::size_t>(field.integer(1, kMostCount));
}

/// Names of the inputs or outputs of a graph; a word in a shape is a symbol.
std::vector<std::string> value_names(const Field& values) {
    std::vector<std::string> names;
    for (const Field& value : values.items(1)) {
        names.push_back(value["name"].word());
        value["dtype"].word();
        for (const Field& axis : value["shape"].items()) {
            if (axis.is_string()) {
                axis.word();
            } else {
                axis.integer(0, std::int64_t{1} << 40);
            }
        }
        if (const auto meaning = value.optional("meaning")) meaning->string();
    }
    check_unique("names of inputs and of outputs", names);
    return names;
}

Part part_of(const Field& field) {
    Part part;
    part.file = field["file"].string();
    check_file_name(part.file);
    part.inputs = value_names(field["inputs"]);
    part.outputs = value_names(field["outputs"]);
    return part;
}

Model model_of(const Field& field) {
    Model model;
    model.pillars = count_or_null(field["pillars"]);
    model.sets = count_or_null(field["sets"]);
    for (const Field& part : field["parts"].items(1)) model.parts.push_back(part_of(part));
    const auto& outputs = model.parts.back().outputs;
    for (const char* name : kDecoded) {
        if (std::find(outputs.begin(), outputs.end(), name) == outputs.end()) {
            fail("model: expected the outputs center, height, ..., got no ['", name, "']");
        }
    }
    return model;
}

Grid grid_of(const Field& field) {
    const std::vector<double> range = field["range_m"].numbers();
    const std::vector<double> cell = field["cell_m"].numbers();
    if (range.size() != 6 || cell.size() != 2) {
        fail("grid: expected 6 range values and 2 cell sizes, got ", range.size(), " and ",
             cell.size());
    }
    Grid grid;
    std::copy(range.begin(), range.end(), grid.range_m.begin());
    std::copy(cell.begin(), cell.end(), grid.cell_m.begin());
    grid.check();
    return grid;
}

std::optional<std::vector<double>> alphas_of(const Field& field, std::size_t classes) {
    if (field.is_null()) return std::nullopt;
    std::vector<double> alphas =
        field.is_array() ? field.numbers() : std::vector<double>{field.number()};
    for (const double alpha : alphas) {
        if (!(alpha >= 0 && alpha <= 1)) {
            fail("DecodeSettings.iou_alpha: expected 0 to 1, got ", alpha);
        }
    }
    if (alphas.size() == 1) alphas.resize(classes, alphas[0]);
    if (alphas.size() != classes) {
        fail("DecodeSettings.iou_alpha: expected 1 or ", classes, " values, got ", alphas.size());
    }
    return alphas;
}

std::int64_t count_of(const Field& field) {
    const std::int64_t value = field.integer();
    if (value < 0) {
        fail("DecodeSettings: expected nms_classes, nms_max and nms_pre of at least 0, got ",
             value);
    }
    return value;
}

DecodeSettings decode_of(const Field& field, std::size_t classes) {
    DecodeSettings settings;
    settings.score_thr = field["score_thr"].number();
    const std::vector<double> range = field["centre_range_m"].numbers();
    if (range.size() != 6) {
        fail("DecodeSettings expected 6 values of centre_range_m, got ", range.size());
    }
    std::copy(range.begin(), range.end(), settings.centre_range_m.begin());
    settings.iou_alpha = alphas_of(field["iou_alpha"], classes);
    for (const Field& label : field["nms_classes"].items()) {
        settings.nms_classes.push_back(count_of(label));
    }
    settings.nms_iou = field["nms_iou"].number();
    settings.nms_max = count_of(field["nms_max"]);
    // Settings that came later: what was exported without them behaves as their defaults say.
    if (const auto pre = field.optional("nms_pre"); pre && !pre->is_null()) {
        settings.nms_pre = count_of(*pre);
    }
    if (const auto thr = field.optional("nms_score_thr")) settings.nms_score_thr = thr->number();
    if (const auto rotated = field.optional("nms_rotated"))
        settings.nms_rotated = rotated->boolean();
    return settings;
}

std::vector<std::string> classes_of(const Field& field) {
    std::vector<std::string> classes;
    for (const Field& name : field.items(1)) {
        classes.push_back(name.word());
        if (!is_printable(classes.back())) {
            fail("classes: expected printable names, got ", in_quotes(classes.back()));
        }
    }
    if (classes.size() > 1000) fail("classes: expected at most 1000, got ", classes.size());
    check_unique("classes", classes);
    return classes;
}

std::map<std::string, std::string> checksums_of(const Field& field,
                                                const std::vector<std::string>& files) {
    std::map<std::string, std::string> sums;
    for (const auto& [name, value] : field.object().members) {
        check_file_name(name);
        const std::string& digest = Field(value, "$.sha256").string();
        const bool is_hex = digest.find_first_not_of("0123456789abcdef") == std::string::npos;
        if (digest.size() != 64 || !is_hex) {
            fail("sha256: expected 64 hexadecimal digits for ", name);
        }
        sums.emplace(name, digest);
    }
    for (const std::string& file : files) {
        if (sums.count(file) == 0) {
            fail("sha256: expected checksums of all files, none of ['", file, "']");
        }
    }
    return sums;
}

void set_layout(const Field& root, Manifest& manifest) {
    // Format 2 has another word for it.
    const auto old = manifest.format == 2 ? root.optional("tokens") : std::nullopt;
    manifest.layout = (old ? *old : root["layout"]).string();
    manifest.set_size = count_or_null(root["set_size"]);
    if (manifest.layout != "sequence" && manifest.layout != "set" && manifest.layout != "grid") {
        fail("layout: expected one of sequence, set, grid, got ", in_quotes(manifest.layout));
    }
    if ((manifest.layout == "set") != manifest.set_size.has_value()) {
        fail("set_size: expected a number in set form and null otherwise, with layout ",
             in_quotes(manifest.layout));
    }
}

Manifest manifest_of(const Json& json) {
    const Field root(json, "$");
    Manifest manifest;
    const Json* version = json.kind == Json::Kind::object ? json.find("format") : nullptr;
    const bool known = version != nullptr && version->kind == Json::Kind::integer &&
                       (version->integer == 2 || version->integer == 3);
    if (!known) {
        fail("expected a manifest of format 2 or 3, got ",
             version == nullptr                     ? "none"
             : version->kind == Json::Kind::integer ? text(version->integer)
                                                    : version->kind_name(),
             "; export the model again");
    }
    manifest.format = version->integer;
    manifest.precision = root["precision"].word();
    manifest.classes = classes_of(root["classes"]);
    manifest.grid = grid_of(root["grid"]);
    manifest.head_grid = grid_of(root["head_grid"]);
    manifest.decode = decode_of(root["decode"], manifest.classes.size());
    manifest.point_columns = static_cast<std::size_t>(root["point_columns"].integer(3, 64));
    set_layout(root, manifest);
    std::vector<std::string> files;
    for (const Field& model : root["models"].items(1)) {
        manifest.models.push_back(model_of(model));
        for (const Part& part : manifest.models.back().parts) files.push_back(part.file);
    }
    check_unique("files of the models", files);
    files.emplace_back(kTables);
    manifest.sha256 = checksums_of(root["sha256"], files);
    if (const auto parity = root.optional("parity")) parity->object();
    return manifest;
}

/// Weights outside of an ONNX file must be files that the manifest vouches for.
void check_external(const fs::path& path, const Manifest& manifest) {
    for (const std::string& name : external_files(path)) {
        if (manifest.sha256.count(name) == 0) {
            fail(path.string(), ": expected external weights in files of the manifest, got ",
                 in_quotes(name));
        }
    }
}

}  // namespace

bool Model::has_input(const std::string& name) const {
    return std::any_of(parts.begin(), parts.end(), [&](const Part& part) {
        return std::find(part.inputs.begin(), part.inputs.end(), name) != part.inputs.end();
    });
}

std::string Manifest::own_name(const std::string& name) const {
    if (format == 2 && name == "window_index") return "places";
    if (format == 2 && name == "cell_to_pillar") return "inverse";
    return name;
}

Manifest parse_manifest(const fs::path& folder) {
    const fs::path path = folder / kManifest;
    std::error_code error;
    if (!fs::exists(path, error)) {
        fail(folder.string(), ": expected a folder that tools/export.py wrote, found no ",
             kManifest, " in it");
    }
    const std::string content = read_bytes(file_inside(folder, kManifest));
    try {
        return manifest_of(parse_json(content));
    } catch (const Error& fault) {
        fail(path.string(), ": ", fault.what());
    }
}

Manifest read_manifest(const fs::path& folder) {
    Manifest manifest = parse_manifest(folder);
    for (const auto& [name, expected] : manifest.sha256) check_hash(folder, name, expected);
    for (const Model& model : manifest.models) {
        for (const Part& part : model.parts) check_external(folder / part.file, manifest);
    }
    return manifest;
}

}  // namespace padre3d
