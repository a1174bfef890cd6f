#include "decode.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "rotated_nms.hpp"
#include "text.hpp"

namespace padre3d {
namespace {

using Shape = std::vector<std::size_t>;

/// The raw outputs of one frame.
struct Raw {
    const float *center, *height, *dim, *rot, *vel, *iou, *heatmap, *query_heatmap_score;
    std::vector<std::int64_t> labels;
    std::size_t classes = 0;
};

/// A box with the numbers of the network, 32 bits each.
struct Candidate {
    float values[9];  ///< x, y, z, length, width, height, yaw, vx, vy
    float score;
    std::int64_t label;
};

void check_finite(const std::string& name, const TensorView& view) {
    if (view.type != Type::float32) return;
    const float* values = view.floats();
    const std::size_t size = view.size();
    bool is_finite = true, has_nan = false;
    for (std::size_t i = 0; i < size; ++i) {
        is_finite &= std::abs(values[i]) <= std::numeric_limits<float>::max();
        has_nan |= values[i] != values[i];
    }
    if (!is_finite) {
        fail("outputs: expected finite numbers, got ", has_nan ? "NaN" : "infinity", " in ", name);
    }
}

const TensorView& output(const Tensors& outputs, const char* name) {
    const auto found = outputs.find(name);
    if (found == outputs.end()) fail("outputs: expected center, height, ..., got no ", name);
    return found->second;
}

const float* floats_of(const Tensors& outputs, const char* name, const Shape& shape) {
    const TensorView& view = output(outputs, name);
    if (view.shape != shape || view.type != Type::float32) {
        fail("outputs: expected ", name, " ", shape_text(shape), " in float32, got ",
             shape_text(view.shape), " in ", name_of(view.type));
    }
    return view.floats();
}

std::vector<std::int64_t> labels_of(const TensorView& view, const Shape& shape,
                                    std::size_t classes) {
    const bool whole = view.type == Type::int32 || view.type == Type::int64;
    if (view.shape != shape || !whole) {
        fail("outputs: expected query_labels ", shape_text(shape), " of whole numbers, got ",
             shape_text(view.shape), " in ", name_of(view.type));
    }
    std::vector<std::int64_t> labels(view.size());
    for (std::size_t i = 0; i < labels.size(); ++i) {
        labels[i] = view.type == Type::int32 ? static_cast<const std::int32_t*>(view.data)[i]
                                             : static_cast<const std::int64_t*>(view.data)[i];
        if (labels[i] < 0 || labels[i] >= static_cast<std::int64_t>(classes)) {
            fail("outputs: expected query_labels from 0 to ", classes - 1, ", got others");
        }
    }
    return labels;
}

/// Refuses what no box can be made of, so that it is not taken for an empty street.
Raw checked(const Tensors& outputs) {
    for (const char* name : kDecoded) output(outputs, name);
    for (const auto& [name, view] : outputs) check_finite(name, view);
    const Shape& shape = output(outputs, "heatmap").shape;
    if (shape.size() != 3) {
        fail("outputs: expected heatmap (1, P, classes), got ", shape_text(shape));
    }
    const std::size_t count = shape[1], classes = shape[2];
    const auto take = [&](const char* name, std::size_t size) {
        return floats_of(outputs, name, {1, count, size});
    };
    Raw raw;
    raw.center = take("center", 2), raw.height = take("height", 1), raw.dim = take("dim", 3);
    raw.rot = take("rot", 2), raw.vel = take("vel", 2), raw.iou = take("iou", 1);
    raw.heatmap = take("heatmap", classes);
    raw.query_heatmap_score = take("query_heatmap_score", classes);
    raw.labels = labels_of(output(outputs, "query_labels"), {1, count}, classes);
    raw.classes = classes;
    return raw;
}

Candidate candidate(const Raw& raw, std::size_t i, const Grid& grid) {
    Candidate box{};
    for (std::size_t axis = 0; axis < 2; ++axis) {
        box.values[axis] = raw.center[2 * i + axis] * static_cast<float>(grid.cell_m[axis]);
        box.values[axis] += static_cast<float>(grid.range_m[axis]);
        box.values[7 + axis] = raw.vel[2 * i + axis];
    }
    for (std::size_t axis = 0; axis < 3; ++axis) {
        box.values[3 + axis] = std::exp(raw.dim[3 * i + axis]);
    }
    box.values[2] = raw.height[i] - box.values[5] / 2;
    box.values[6] = std::atan2(raw.rot[2 * i], raw.rot[2 * i + 1]);
    box.label = raw.labels[i];
    const std::size_t at = i * raw.classes + static_cast<std::size_t>(box.label);
    box.score = 1 / (1 + std::exp(-raw.heatmap[at])) * raw.query_heatmap_score[at];
    return box;
}

bool is_wanted(const Candidate& box, const DecodeSettings& settings) {
    bool wanted = box.score > static_cast<float>(settings.score_thr);
    for (const float value : box.values) wanted = wanted && std::isfinite(value);
    for (std::size_t axis = 0; axis < 3; ++axis) {
        wanted = wanted && box.values[axis] >= static_cast<float>(settings.centre_range_m[axis]) &&
                 box.values[axis] <= static_cast<float>(settings.centre_range_m[axis + 3]);
    }
    return wanted;
}

/// score^(1 - alpha) iou^alpha.
float rescored(const Candidate& box, float raw_iou, const DecodeSettings& settings) {
    if (!settings.iou_alpha) return box.score;
    const auto alpha =
        static_cast<float>((*settings.iou_alpha)[static_cast<std::size_t>(box.label)]);
    const float iou = std::min(std::max((raw_iou + 1) / 2, 0.0F), 1.0F);
    return std::pow(box.score, 1 - alpha) * std::pow(iou, alpha);
}

/// Takes out what the suppression of one class drops.
void suppress(const std::vector<Candidate>& boxes, std::int64_t label,
              const DecodeSettings& settings, std::vector<bool>& keep) {
    std::vector<std::size_t> rows;
    std::vector<Rectangle> compared;
    std::vector<float> scores;
    for (std::size_t i = 0; i < boxes.size(); ++i) {
        if (boxes[i].label != label) continue;
        keep[i] = false;
        if (!(boxes[i].score >= static_cast<float>(settings.nms_score_thr))) continue;
        const float* v = boxes[i].values;
        rows.push_back(i);
        scores.push_back(boxes[i].score);
        compared.push_back({v[0], v[1], v[3], v[4], settings.nms_rotated ? double{v[6]} : 0.0});
    }
    const auto pre = static_cast<std::size_t>(
        settings.nms_pre.value_or(std::numeric_limits<std::int64_t>::max()));
    const auto most = static_cast<std::size_t>(settings.nms_max);
    for (const std::size_t kept : rotated_nms(compared, scores, settings.nms_iou, most, pre)) {
        keep[rows[kept]] = true;
    }
}

Box checked_box(const Candidate& found) {
    const float* v = found.values;
    if (!std::isfinite(found.score) || !(v[3] > 0 && v[4] > 0 && v[5] > 0)) {
        fail("boxes: expected finite numbers and positive sizes, got ", v[3], " x ", v[4], " x ",
             v[5], " with score ", found.score);
    }
    return {v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], found.score, found.label};
}

}  // namespace

std::vector<Box> decode(const Tensors& outputs, const Grid& grid, const DecodeSettings& settings) {
    const Raw raw = checked(outputs);
    if (settings.iou_alpha && settings.iou_alpha->size() != raw.classes) {
        fail("DecodeSettings.iou_alpha: expected 1 or ", raw.classes, " values, got ",
             settings.iou_alpha->size());
    }
    std::vector<Candidate> boxes;
    for (std::size_t i = 0; i < raw.labels.size(); ++i) {
        Candidate box = candidate(raw, i, grid);
        if (!is_wanted(box, settings)) continue;
        box.score = rescored(box, raw.iou[i], settings);
        boxes.push_back(box);
    }
    std::vector<bool> keep(boxes.size(), true);
    for (const std::int64_t label : settings.nms_classes) suppress(boxes, label, settings, keep);
    std::vector<float> scores;
    std::vector<std::size_t> rows;
    for (std::size_t i = 0; i < boxes.size(); ++i) {
        if (!keep[i]) continue;
        rows.push_back(i);
        scores.push_back(boxes[i].score);
    }
    std::vector<Box> found;
    for (const std::size_t i : best_first(scores)) found.push_back(checked_box(boxes[rows[i]]));
    return found;
}

}  // namespace padre3d
