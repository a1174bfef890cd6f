// The loop of a live sensor: single clouds and poses in, boxes out.
//
//     live_loop DIR CLOUD [CLOUD ...]
//
// Here the clouds come from files, and the vehicle drives straight on at 10 m/s.

#include <iostream>

#include <padre3d/cloud.hpp>
#include <padre3d/detector.hpp>
#include <padre3d/sweep_buffer.hpp>

int main(int count, char** words) try {
    if (count < 3) throw padre3d::Error("usage: live_loop DIR CLOUD [CLOUD ...]");
    padre3d::Detector detector(words[1]);
    padre3d::SweepBuffer buffer;
    for (int i = 2; i < count; ++i) {
        const padre3d::Cloud sweep = padre3d::read_cloud(words[i]);
        const double stamp_s = 0.1 * i;
        buffer.push(sweep.view(), stamp_s, padre3d::pose_of(10 * stamp_s, 0, 0, 1, 0, 0, 0));
        const std::vector<float> points = buffer.cloud();
        for (const padre3d::Box& box : detector.detect({points.data(), points.size() / 5, 5})) {
            if (box.score < 0.3) break;  // best first
            std::cout << detector.class_names()[static_cast<std::size_t>(box.label)] << " at "
                      << box.x << ", " << box.y << " m, score " << box.score << "\n";
        }
        std::cout << detector.last().pillars << " pillars, "
                  << detector.times().outside_graph() + detector.times().graph << " ms\n";
    }
} catch (const padre3d::Error& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 1;
}
