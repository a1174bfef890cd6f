// padre3d_detect: the boxes of a cloud, from an exported folder.

#include <algorithm>
#include <iostream>
#include <new>

#include "arguments.hpp"
#include "folder.hpp"
#include "joining.hpp"
#include "json_field.hpp"
#include "output.hpp"
#include "padre3d/boxes_json.hpp"
#include "padre3d/cloud.hpp"
#include "padre3d/detector.hpp"
#include "padre3d/sweep_buffer.hpp"
#include "poses.hpp"
#include "text.hpp"

namespace padre3d {
namespace {

/// Reads a cloud without the points that are no measurement, and says what is odd about it.
Cloud usable_cloud(const std::filesystem::path& path, const ReadOptions& options) {
    Cloud cloud = read_cloud(path, options);
    const std::size_t before = cloud.size();
    const Dropped dropped = drop_unusable(cloud);
    std::cerr << path.string() << ": " << before << " points";
    if (dropped.total() > 0) {
        std::cerr << " (dropped: " << dropped.invalid << " with NaN or infinity, " << dropped.absurd
                  << " with absurd numbers, " << dropped.origin << " at the origin)";
    }
    std::cerr << "\n";
    for (const std::string& warning : cloud.warnings) std::cerr << "  ! " << warning << "\n";
    return cloud;
}

/// The sweeps asked for, else those that the model learnt from, else those of nuScenes.
SweepOptions sweep_options(const Arguments& args) {
    SweepOptions options;
    const std::filesystem::path info = args.folder / "info.json";
    if (!(args.sweeps && args.stride) && std::filesystem::is_regular_file(info)) {
        try {
            const Json document = parse_json(read_bytes(info));
            const Field said(document, "$");
            const auto count = [&](const char* key, std::size_t& target) {
                const auto field = said.optional(key);
                if (field) target = static_cast<std::size_t>(field->integer(1, 1'000'000));
            };
            count("num_sweeps", options.num_sweeps);
            count("stride", options.stride);
        } catch (const Error& error) {
            fail(info.string(), ": expected what tools/export.py or package_model.py wrote: ", error.what());
        }
    }
    options.num_sweeps = args.sweeps.value_or(options.num_sweeps);
    options.stride = args.stride.value_or(options.stride);
    options.lidar_to_ego = args.lidar_to_ego;
    return options;
}

/// The cloud, or the latest of several with the sweeps before it in its axes.
std::vector<float> points_of(const Arguments& args) {
    if (args.poses.empty()) return usable_cloud(args.clouds[0], args.reading).points;
    const std::vector<PosedCloud> clouds = with_poses(args.clouds, read_poses(args.poses));
    const SweepOptions options = sweep_options(args);
    // A single cloud keeps its own time lags.
    if (options.num_sweeps == 1) return usable_cloud(clouds.back().path, args.reading).points;
    Joiner join(options, args.max_lag_s);
    for (const PosedCloud& cloud : clouds) {
        const Cloud sweep = usable_cloud(cloud.path, args.reading);
        const std::string said = join.push(sweep.view(), cloud.at.stamp_s, cloud.at.pose);
        if (!said.empty()) std::cerr << "  " << said << "\n";
    }
    return join.cloud();
}

std::string times_json(const std::vector<StageTimes>& runs) {
    std::string rows;
    for (const StageTimes& t : runs) {
        rows += text(rows.empty() ? "\n" : ",\n", "  {\"encoder\": ", t.encoder,
                     ", \"inputs\": ", t.inputs, ", \"graph\": ", t.graph,
                     ", \"decode\": ", t.decode, ", \"processor\": ", t.processor, "}");
    }
    return "{\n \"runs\": [" + rows + "\n ]\n}\n";
}

void report(const Detector& detector, std::size_t boxes) {
    const FrameReport& last = detector.last();
    const StageTimes& times = detector.times();
    if (last.dropped > 0) {
        std::cerr << "  ! frame of " << last.pillars << " pillars: the largest graph takes "
                  << last.pillars - last.dropped << ", the " << last.dropped
                  << " farthest were dropped\n";
    }
    std::cerr << last.pillars << " pillars, " << boxes << " boxes; ms: encoder " << times.encoder
              << ", inputs " << times.inputs << ", graph " << times.graph << ", decode "
              << times.decode << "\n";
}

/// Whether the program may read a file of a model's folder; other JSON files are results.
bool is_input(const std::filesystem::path& file) {
    const std::string name = file.filename().string();
    return file.extension() != ".json" || name == "manifest.json" || name == "info.json";
}

/// Everything that is read, the files of the folders one by one.
std::vector<std::filesystem::path> inputs_of(const Arguments& args) {
    namespace fs = std::filesystem;
    std::vector<fs::path> inputs = args.clouds;
    if (!args.poses.empty()) inputs.push_back(args.poses);
    for (const fs::path& folder : {args.folder, args.options.engines}) {
        if (folder.empty()) continue;
        inputs.push_back(folder);
        std::error_code error;
        // What cannot be listed cannot be read either, and is an error later.
        for (auto at = fs::recursive_directory_iterator(folder, error);
             !error && at != fs::recursive_directory_iterator(); at.increment(error)) {
            std::error_code of_file;  // a link to nothing is no file, and the next one may be
            if (at->is_regular_file(of_file) && is_input(at->path())) inputs.push_back(at->path());
        }
    }
    return inputs;
}

void run(const Arguments& args) {
    check_targets({{"--out", args.out}, {"--times", args.times}}, inputs_of(args));
    Detector detector(args.folder, args.options);
    const std::vector<float> points = points_of(args);
    std::vector<Box> boxes;
    std::vector<StageTimes> times;
    for (std::size_t i = 0; i < args.repeat; ++i) {
        boxes = detector.detect({points.data(), points.size() / 5, 5});
        times.push_back(detector.times());
    }
    boxes.erase(std::remove_if(boxes.begin(), boxes.end(),
                               [&](const Box& box) { return box.score < args.score_thr; }),
                boxes.end());
    report(detector, boxes.size());
    if (!args.times.empty()) write_file(args.times, times_json(times));
    const std::string json = boxes_to_json(boxes, detector.class_names());
    if (!args.out.empty()) {
        write_file(args.out, json);
        return;
    }
    std::cout << json << std::flush;
    if (!std::cout) fail("standard output: expected to write the boxes");
}

}  // namespace
}  // namespace padre3d

int main(int count, char** words) {
    try {
        const auto args = padre3d::parse_arguments({words + 1, words + count});
        if (args.help) {
            std::cout << padre3d::kUsage;
            return 0;
        }
        padre3d::run(args);
        return 0;
    } catch (const std::bad_alloc&) {
        std::cerr << "error: not enough memory\n";
    } catch (const std::exception& error) {
        std::cerr << "error: " << error.what() << "\n";
    }
    return 1;
}
