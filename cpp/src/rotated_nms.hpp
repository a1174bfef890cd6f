#pragma once

#include <cstddef>
#include <vector>

namespace padre3d {

/// A rectangle from above.
struct Rectangle {
    double x, y, length, width, yaw;
};

/// BEV IoU of two rectangles.
double iou_bev(const Rectangle& a, const Rectangle& b);

/// Rows of the kept rectangles, best first; equal scores keep their order. Only the best
/// `candidates` are looked at, at most `most` kept.
std::vector<std::size_t> rotated_nms(const std::vector<Rectangle>& boxes,
                                     const std::vector<float>& scores, double iou_thr,
                                     std::size_t most, std::size_t candidates);

/// Rows by falling score; equal scores keep their order.
std::vector<std::size_t> best_first(const std::vector<float>& scores);

}  // namespace padre3d
