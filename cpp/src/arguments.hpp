#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "padre3d/cloud.hpp"
#include "padre3d/detector.hpp"
#include "padre3d/sweep_buffer.hpp"

namespace padre3d {

/// What the command line of padre3d_detect says.
struct Arguments {
    std::filesystem::path folder, out, poses, times;
    std::vector<std::filesystem::path> clouds;
    Options options;
    ReadOptions reading;
    double score_thr = 0.1;
    std::optional<std::size_t> sweeps, stride;  ///< default: what the folder's info.json says
    std::optional<double> max_lag_s;
    std::optional<Pose> lidar_to_ego;
    std::size_t repeat = 1;
    bool help = false;
};

extern const char* const kUsage;

/// Throws Error on an unknown option, a value that is none, or options without effect.
Arguments parse_arguments(const std::vector<std::string>& words);

}  // namespace padre3d
