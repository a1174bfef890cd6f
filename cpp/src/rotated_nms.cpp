#include "rotated_nms.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace padre3d {
namespace {

constexpr double kGrowthM = 1e-9;  // see padre3d/head/rotated_iou.py
constexpr double kTiny = 1e-300;

struct Edge {
    std::array<double, 2> start, along;
};
using Edges = std::array<Edge, 4>;

/// The edges of a box in the axes of `frame`.
Edges edges_in_frame(const Rectangle& box, const Rectangle& frame) {
    const double dx = box.x - frame.x, dy = box.y - frame.y;
    const double cos_f = std::cos(frame.yaw), sin_f = std::sin(frame.yaw);
    const double x = dx * cos_f + dy * sin_f, y = dy * cos_f - dx * sin_f;
    const double cos_t = std::cos(box.yaw - frame.yaw), sin_t = std::sin(box.yaw - frame.yaw);
    static constexpr std::array<double, 4> ahead = {1, -1, -1, 1}, left = {1, 1, -1, -1};
    std::array<std::array<double, 2>, 4> corners;
    for (std::size_t i = 0; i < 4; ++i) {
        const double along = box.length / 2 * ahead[i], across = box.width / 2 * left[i];
        corners[i] = {x + along * cos_t - across * sin_t, y + along * sin_t + across * cos_t};
    }
    Edges edges;
    for (std::size_t i = 0; i < 4; ++i) {
        const auto& next = corners[(i + 1) % 4];
        edges[i] = {corners[i], {next[0] - corners[i][0], next[1] - corners[i][1]}};
    }
    return edges;
}

/// Share of an edge inside the rectangle that owns the axes.
double share_inside(const Edge& edge, const Rectangle& frame) {
    const std::array<double, 2> half = {frame.length / 2, frame.width / 2};
    double enter = 0, leave = 1;
    for (std::size_t axis = 0; axis < 2; ++axis) {
        const double step = edge.along[axis] == 0 ? kTiny : edge.along[axis];
        const double low = (-half[axis] - edge.start[axis]) / step;
        const double high = (half[axis] - edge.start[axis]) / step;
        enter = std::max(enter, std::min(low, high));
        leave = std::min(leave, std::max(low, high));
    }
    return std::max(leave - enter, 0.0);
}

/// Whether two rectangles are too far apart to touch.
bool are_apart(const Rectangle& a, const Rectangle& b) {
    const double reach = (std::hypot(a.length, a.width) + std::hypot(b.length, b.width)) / 2;
    return std::hypot(a.x - b.x, a.y - b.y) > reach + 1e-6;
}

}  // namespace

double iou_bev(const Rectangle& a, const Rectangle& given) {
    Rectangle b = given;
    const double area_a = a.length * a.width, area_b = b.length * b.width;
    b.length += 2 * kGrowthM;
    b.width += 2 * kGrowthM;
    double of_a = 0, of_b = 0;
    for (const Edge& edge : edges_in_frame(a, b)) {
        const double cross = edge.start[0] * edge.along[1] - edge.start[1] * edge.along[0];
        of_a += share_inside(edge, b) * cross;
    }
    for (const Edge& edge : edges_in_frame(b, a)) of_b += share_inside(edge, a);
    of_b *= b.length * b.width / 2;
    const double overlap = std::min(std::max((of_a + of_b) / 2, 0.0), std::min(area_a, area_b));
    const double iou = overlap / std::max(area_a + area_b - overlap, 1e-12);
    return std::isnan(iou) ? 0 : std::clamp(iou, 0.0, 1.0);
}

std::vector<std::size_t> rotated_nms(const std::vector<Rectangle>& boxes,
                                     const std::vector<float>& scores, double iou_thr,
                                     std::size_t most, std::size_t candidates) {
    std::vector<std::size_t> order = best_first(scores), kept;
    if (order.size() > candidates) order.resize(candidates);
    for (const std::size_t row : order) {
        if (kept.size() == most) break;
        const bool overlaps = std::any_of(kept.begin(), kept.end(), [&](std::size_t other) {
            if (iou_thr >= 0 && are_apart(boxes[row], boxes[other])) return false;
            return iou_bev(boxes[row], boxes[other]) > iou_thr;
        });
        if (!overlaps) kept.push_back(row);
    }
    return kept;
}

std::vector<std::size_t> best_first(const std::vector<float>& scores) {
    std::vector<std::size_t> order(scores.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    // NaN comes last, as in numpy.
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return scores[a] > scores[b] || (std::isnan(scores[b]) && !std::isnan(scores[a]));
    });
    return order;
}

}  // namespace padre3d
