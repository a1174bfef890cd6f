// What tests/cpp asks of the library piece by piece: arrays in, arrays out, no graph needed.

#include <array>
#include <chrono>
#include <cmath>
#include <ctime>
#include <fstream>
#include <functional>
#include <iostream>
#include <random>
#include <utility>

#include "decode.hpp"
#include "folder.hpp"
#include "frame_inputs.hpp"
#include "joining.hpp"
#include "npy.hpp"
#include "padre3d/boxes_json.hpp"
#include "padre3d/cloud.hpp"
#include "padre3d/detector.hpp"
#include "padre3d/sweep_buffer.hpp"
#include "poses.hpp"
#include "row_product.hpp"
#include "text.hpp"

namespace padre3d {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

constexpr std::size_t kMostBytes = std::size_t{1} << 30;

void write_npy(const fs::path& path, const std::string& dtype,
               const std::vector<std::size_t>& shape, const void* data, std::size_t bytes) {
    std::string axes;
    for (const std::size_t length : shape) axes += std::to_string(length) + ",";
    std::string header =
        "{'descr': '" + dtype + "', 'fortran_order': False, 'shape': (" + axes + ")}";
    header.resize((header.size() + 10 + 64) / 64 * 64 - 10 - 1, ' ');
    header += '\n';
    std::ofstream file(path, std::ios::binary);
    file << "\x93NUMPY" << '\1' << '\0' << static_cast<char>(header.size() & 255)
         << static_cast<char>(header.size() >> 8) << header;
    file.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
    if (!file) fail(path.string(), ": not written");
}

void write_floats(const fs::path& path, const std::vector<std::size_t>& shape, const float* data) {
    std::size_t count = 1;
    for (const std::size_t length : shape) count *= length;
    write_npy(path, "<f4", shape, data, 4 * count);
}

/// A (P, columns) array of float32.
struct Points {
    std::vector<float> values;
    std::size_t columns;

    PointView view() const { return {values.data(), values.size() / columns, columns}; }
};

Points read_points(const fs::path& path) {
    const NpyArray array = parse_npy(read_bytes(path));
    return {array.numbers<float>(), array.shape.at(1)};
}

/// stages FOLDER CLOUD.npy OUT MIN SETS MOST THREADS: the graph's inputs by name, as files in OUT.
/// 0 sets, most pillars: none.
void stages(const Words& words) {
    const fs::path out = words.at(2);
    const Manifest manifest = parse_manifest(words.at(0));
    const Points points = read_points(words.at(1));
    const std::size_t least = std::stoul(words.at(3)), sets = std::stoul(words.at(4));
    const std::size_t most = std::stoul(words.at(5));
    FrameInputs frame(words.at(0), manifest, std::stoi(words.at(6)));
    PointView other = points.view();  // what an earlier frame left in the buffers must not show
    other.count -= other.count / 3;
    frame.inputs(frame.encode(other), 1, std::nullopt);
    EncodedPillars& pillars = frame.encode(points.view());
    std::cout << pillars.cells.size() << " " << pillars.unusable << "\n";
    if (most > 0) frame.keep_nearest(pillars, most);
    const Tensors inputs =
        frame.inputs(pillars, least, sets == 0 ? std::nullopt : std::optional<std::size_t>(sets));
    for (const auto& [name, view] : inputs) {
        const bool is_float = view.type == Type::float32, is_int = view.type == Type::int32;
        const char* dtype = is_float ? "<f4" : is_int ? "<i4" : "|b1";
        write_npy(out / (name + ".npy"), dtype, view.shape, view.data,
                  view.size() * bytes_of(view.type));
    }
}

using Arrays = std::map<std::string, NpyArray>;

/// Raw outputs of the graph; the arrays must outlive them.
Tensors outputs_of(const Arrays& arrays) {
    Tensors outputs;
    for (const auto& [name, array] : arrays) {
        const std::string kind = array.kind();
        const Type type = kind == "i8" ? Type::int64 : kind == "i4" ? Type::int32 : Type::float32;
        outputs[name] = {type, array.shape, array.data.data()};
    }
    return outputs;
}

/// Boxes with score and label as (K, 11).
void write_boxes(const fs::path& path, const std::vector<Box>& boxes) {
    std::vector<double> rows;
    for (const Box& b : boxes) {
        rows.insert(rows.end(), {b.x, b.y, b.z, b.length, b.width, b.height, b.yaw, b.vx, b.vy,
                                 b.score, static_cast<double>(b.label)});
    }
    write_npy(path, "<f8", {boxes.size(), 11}, rows.data(), 8 * rows.size());
}

/// decode FOLDER OUTPUTS.npz OUT.npy: boxes of raw outputs.
void decode_outputs(const Words& words) {
    const Manifest manifest = parse_manifest(words.at(0));
    const Arrays arrays = read_npz(words.at(1), kMostBytes);
    const Tensors outputs = outputs_of(arrays);
    write_boxes(words.at(2), decode(outputs, manifest.head_grid, manifest.decode));
}

/// boxes BOXES.npy NAME ...: the JSON of boxes as `write_boxes` leaves them.
void boxes(const Words& words) {
    const NpyArray array = parse_npy(read_bytes(words.at(0)));
    const std::vector<double> v = array.numbers<double>();
    std::vector<Box> read;
    for (std::size_t at = 0; at < v.size(); at += 11) {
        read.push_back({v[at], v[at + 1], v[at + 2], v[at + 3], v[at + 4], v[at + 5], v[at + 6],
                        v[at + 7], v[at + 8], v[at + 9], static_cast<std::int64_t>(v[at + 10])});
    }
    std::cout << boxes_to_json(read, {words.begin() + 1, words.end()});
}

/// Wall-clock and processor milliseconds of a call, behind the ones before.
void time(std::vector<double>& ms, const std::function<void()>& call) {
    const std::clock_t processor = std::clock();
    const auto start = std::chrono::steady_clock::now();
    call();
    const std::chrono::duration<double, std::milli> wall = std::chrono::steady_clock::now() - start;
    ms.push_back(wall.count());
    ms.push_back(1e3 * static_cast<double>(std::clock() - processor) / CLOCKS_PER_SEC);
}

/// times FOLDER CLOUD.npy OUTPUTS.npz THREADS: for each line of standard input one frame without
/// its graph, and the milliseconds of encoder, inputs and decode.
void times(const Words& words) {
    const Manifest manifest = parse_manifest(words.at(0));
    const Points points = read_points(words.at(1));
    const Arrays arrays = read_npz(words.at(2), kMostBytes);
    const Tensors outputs = outputs_of(arrays);
    FrameInputs frame(words.at(0), manifest, std::stoi(words.at(3)));
    for (std::string line; std::getline(std::cin, line);) {
        std::vector<double> ms;
        EncodedPillars* pillars = nullptr;
        time(ms, [&] { pillars = &frame.encode(points.view()); });
        time(ms, [&] { frame.inputs(*pillars, 1, std::nullopt); });
        time(ms, [&] { decode(outputs, manifest.head_grid, manifest.decode); });
        for (const double value : ms) std::cout << value << " ";
        std::cout << std::endl;
    }
}

/// frames FOLDER CLOUD.npy OUT.npy BACKEND THREADS: for each line of standard input one frame of
/// the whole detector, and its milliseconds. The boxes of the first are in OUT.npy.
void frames(const Words& words) {
    Options options;
    options.backend = words.at(3);
    options.threads = std::stoi(words.at(4));
    Detector detector(words.at(0), options);
    const Points points = read_points(words.at(1));
    bool is_first = true;
    for (std::string line; std::getline(std::cin, line);) {
        std::vector<double> ms;
        std::vector<Box> boxes;
        time(ms, [&] { boxes = detector.detect(points.view()); });
        if (std::exchange(is_first, false)) write_boxes(words.at(2), boxes);
        std::cout << ms[0] << " " << ms[1] << std::endl;
    }
}

/// cloud FILE OUT.npy: points that count, and how many do not.
void cloud(const Words& words) {
    Cloud read = read_cloud(words.at(0));
    const Dropped dropped = drop_unusable(read);
    std::cout << dropped.invalid << " " << dropped.absurd << " " << dropped.origin << "\n";
    for (const std::string& warning : read.warnings) std::cout << warning << "\n";
    write_floats(words.at(1), {read.size(), 5}, read.points.data());
}

/// sweeps SWEEPS.npz OUT.npy NUM STRIDE PAD RADIUS MAX_LAG: clouds cloud0, cloud1, ... with their
/// stamps and poses (7 numbers each). MAX_LAG 0: none.
void sweeps(const Words& words) {
    const Arrays arrays = read_npz(words.at(0), kMostBytes);
    SweepOptions options;
    options.num_sweeps = std::stoul(words.at(2));
    options.stride = std::stoul(words.at(3));
    options.pad = words.at(4) == "1";
    options.close_radius_m = std::stod(words.at(5));
    if (std::stod(words.at(6)) > 0) options.max_lag_s = std::stod(words.at(6));
    options.lidar_to_ego = pose_of(0.9, 0, 1.8, 0.7, 0, 0, -0.7);
    SweepBuffer buffer(options);
    const auto stamps = arrays.at("stamps").numbers<double>();
    const auto poses = arrays.at("poses").numbers<double>();
    for (std::size_t i = 0; i < stamps.size(); ++i) {
        const NpyArray& array = arrays.at("cloud" + std::to_string(i));
        const std::vector<float> values = array.numbers<float>();
        const double* p = poses.data() + 7 * i;
        buffer.push({values.data(), array.shape[0], array.shape[1]}, stamps[i],
                    pose_of(p[0], p[1], p[2], p[3], p[4], p[5], p[6]));
    }
    const std::vector<float> cloud = buffer.cloud();
    write_floats(words.at(1), {cloud.size() / 5, 5}, cloud.data());
}

/// join STAMPS.npy NUM STRIDE MAX_LAG: for the cloud of each stamp how many sweeps it has without
/// padding, and what is said. MAX_LAG 0: none.
void join(const Words& words) {
    SweepOptions options;
    options.num_sweeps = std::stoul(words.at(1));
    options.stride = std::stoul(words.at(2));
    options.pad = false;
    const double most = std::stod(words.at(3));
    Joiner joiner(options, most > 0 ? std::optional<double>(most) : std::nullopt);
    const std::array<float, 5> point = {9, 0, 0, 0, 0};
    for (const double stamp_s : parse_npy(read_bytes(words.at(0))).numbers<double>()) {
        const std::string said =
            joiner.push({point.data(), 1, 5}, stamp_s, pose_of(0, 0, 0, 1, 0, 0, 0));
        std::cout << joiner.cloud().size() / 5 << " " << said << "\n";
    }
}

/// poses FILE: stamp, position and file of each row.
void poses(const Words& words) {
    std::cout.precision(17);
    for (const StampedPose& row : read_poses(words.at(0))) {
        std::cout << row.stamp_s << " " << row.pose[3] << " " << row.pose[7] << " " << row.pose[11]
                  << " " << row.file.string() << "\n";
    }
}

/// check KIND: reads each path of standard input, and says "ok" or the error.
void check(const Words& words) {
    const std::string kind = words.at(0);
    for (std::string path; std::getline(std::cin, path);) {
        try {
            if (kind == "manifest")
                parse_manifest(path);
            else if (kind == "folder")
                load_tables(fs::path(path) / kTables, read_manifest(path));
            else if (kind == "tables")
                load_tables(fs::path(path) / kTables, parse_manifest(path));
            else
                read_cloud(path);
            std::cout << "ok\n";
        } catch (const Error& error) {
            std::cout << error.what() << "\n";
        }
    }
}

/// A product in double, as row_product.hpp defines it.
std::vector<double> expected_rows(const RowProduct& job, const Floats& weight) {
    std::vector<double> rows(job.count * job.width);
    for (std::size_t r = 0; r < job.count; ++r) {
        const std::size_t start = static_cast<std::size_t>(job.pillar[r]) * job.width;
        for (std::size_t c = 0; c < job.width; ++c) {
            double sum = double{job.start[start + c]};
            for (std::size_t k = 0; k < job.depth; ++k) {
                sum += double{job.x[r * job.depth + k]} * double{weight[k * job.width + c]};
            }
            rows[r * job.width + c] =
                job.kind == RowProduct::Kind::plain ? sum : std::max(sum, 0.0);
        }
    }
    return rows;
}

/// Largest error of one kernel in one job of random numbers.
double kernel_error(const RowKernel& kernel, RowProduct job, std::mt19937& random) {
    std::normal_distribution<float> draw;
    const auto filled = [&](std::size_t size) {
        Floats values(size);
        for (float& value : values) value = draw(random);
        return values;
    };
    const std::size_t pillars = job.count / 3 + 1;
    std::vector<std::int32_t> pillar(job.count);
    for (std::size_t r = 0; r < job.count; ++r) pillar[r] = static_cast<std::int32_t>(r / 3);
    Floats x = filled(job.count * job.depth);
    for (float& value : x) value = std::max(value, 0.0F);
    const Floats weight = filled(job.depth * job.width), start = filled(pillars * job.width);
    const Floats lines = packed(weight.data(), job.depth, job.width, job.width, kernel);
    Floats rows(job.count * job.width), most(pillars * job.width);
    job.x = x.data(), job.weight = lines.data(), job.pillar = pillar.data();
    job.start = start.data(), job.rows = rows.data(), job.most = most.data();
    kernel.run(job);
    const std::vector<double> expected = expected_rows(job, weight);
    std::vector<double> largest(pillars * job.width);
    double error = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        const std::size_t r = i / job.width, c = i % job.width;
        double& most_of = largest[static_cast<std::size_t>(pillar[r]) * job.width + c];
        most_of = std::max(most_of, expected[i]);
        const bool has_rows = job.kind != RowProduct::Kind::last;
        if (has_rows) error = std::max(error, std::abs(double{rows[i]} - expected[i]));
    }
    if (job.kind == RowProduct::Kind::plain) return error;
    for (std::size_t i = 0; i < largest.size(); ++i) {
        const bool has_points = i / job.width < (job.count + 2) / 3;
        if (has_points) error = std::max(error, std::abs(double{most[i]} - largest[i]));
    }
    return error;
}

/// kernels: name and largest error of each that runs here.
void kernels(const Words&) {
    for (std::size_t i = 0; i < kNumRowKernels; ++i) {
        const RowKernel& kernel = kRowKernels[i];
        if (!kernel.is_supported()) continue;
        std::mt19937 random(0);
        double error = 0;
        for (const auto kind :
             {RowProduct::Kind::hidden, RowProduct::Kind::last, RowProduct::Kind::plain}) {
            for (const std::size_t depth : {1, 8, 9, 17, 64, 80, 200}) {
                for (const std::size_t width : {16, 48, 64, 128, 240}) {
                    RowProduct job;
                    job.kind = kind, job.count = 10, job.depth = depth, job.width = width;
                    error = std::max(error, kernel_error(kernel, job, random));
                }
            }
        }
        std::cout << kernel.name << " " << error << "\n";
    }
}

void run(const Words& words) {
    static const std::map<std::string, std::function<void(const Words&)>> commands = {
        {"stages", stages}, {"decode", decode_outputs}, {"times", times}, {"frames", frames},
        {"cloud", cloud},   {"sweeps", sweeps},         {"check", check}, {"kernels", kernels},
        {"boxes", boxes},   {"join", join},             {"poses", poses}};
    commands.at(words.at(0))({words.begin() + 1, words.end()});
}

}  // namespace
}  // namespace padre3d

int main(int count, char** words) {
    try {
        padre3d::run({words + 1, words + count});
        return 0;
    } catch (const std::exception& error) {
        std::cerr << "error: " << error.what() << "\n";
        return 1;
    }
}
