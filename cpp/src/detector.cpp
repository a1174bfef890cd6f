#include "padre3d/detector.hpp"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <limits>
#include <utility>

#include "backend.hpp"
#include "decode.hpp"
#include "frame_inputs.hpp"
#include "text.hpp"

namespace padre3d {
namespace {

/// One graph: its parts in turn, and the pillars it takes.
struct OpenModel {
    std::vector<std::unique_ptr<Graph>> parts;
    std::size_t min_pillars = 1;
    std::optional<std::size_t> max_pillars, sets;
    bool has_mask = false;

    std::size_t most() const {
        return max_pillars.value_or(std::numeric_limits<std::size_t>::max());
    }
};

OpenModel open_model(const std::filesystem::path& folder, const Model& model,
                     const Options& options) {
    OpenModel open;
    open.sets = model.sets;
    open.has_mask = model.has_input("valid");
    for (const Part& part : model.parts) {
        open.parts.push_back(
            open_graph(options.backend, folder / part.file, {options.threads, options.engines}));
        if (const auto limits = open.parts.back()->limits()) {
            open.min_pillars = std::max(open.min_pillars, limits->first);
            open.max_pillars = std::min(open.most(), limits->second);
        }
    }
    if (model.pillars) {
        open.min_pillars = *model.pillars;
        open.max_pillars = model.pillars;
    }
    return open;
}

class Stopwatch {
public:
    /// Milliseconds since the last call.
    double lap() {
        const auto now = std::chrono::steady_clock::now();
        const std::chrono::duration<double, std::milli> passed = now - last_;
        last_ = now;
        return passed.count();
    }

    /// Milliseconds of processor time of all threads since the last call.
    double processor_lap() {
        const std::clock_t now = std::clock(), passed = now - last_processor_;
        last_processor_ = now;
        return 1e3 * static_cast<double>(passed) / CLOCKS_PER_SEC;
    }

private:
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
    std::clock_t last_processor_ = std::clock();
};

}  // namespace

struct Detector::State {
    State(const std::filesystem::path& folder, const Options& options)
        : manifest(read_manifest(folder)), inputs(folder, manifest, options.threads) {
        for (const Model& model : manifest.models) {
            models.push_back(open_model(folder, model, options));
        }
        std::stable_sort(models.begin(), models.end(), [](const OpenModel& a, const OpenModel& b) {
            return a.most() < b.most();
        });
    }

    /// The smallest graph that takes so many, or else the largest.
    OpenModel& choose(std::size_t pillars) {
        for (OpenModel& model : models) {
            if (model.most() >= pillars) return model;
        }
        return models.back();
    }

    std::vector<Box> detect(PointView points) {
        Stopwatch watch;
        times = {};
        EncodedPillars& pillars = inputs.encode(points);
        const std::size_t count = pillars.cells.size();
        last = {count, 0, 0, pillars.unusable};
        if (count == 0) return {};
        OpenModel& model = choose(count);
        if (count > model.most()) inputs.keep_nearest(pillars, model.most());
        times.encoder = watch.lap();
        const Tensors given = index_inputs(pillars, model);
        times.inputs = watch.lap();
        times.processor = watch.processor_lap();
        const Tensors outputs = run(model, given);
        times.graph = watch.lap();
        watch.processor_lap();
        std::vector<Box> boxes = decode(outputs, manifest.head_grid, manifest.decode);
        check_labels(boxes);
        times.decode = watch.lap();
        times.processor += watch.processor_lap();
        return boxes;
    }

    Tensors index_inputs(EncodedPillars& pillars, const OpenModel& model) {
        const std::size_t kept = pillars.cells.size();
        last.dropped = last.pillars - kept;
        last.size = std::max(kept, model.min_pillars);
        if (last.size > kept && manifest.layout == "sequence" && !model.has_mask) {
            fail(
                "frame of ", kept, " pillars: expected at least ", model.min_pillars,
                ", and the graph has no mask to pad with; export with --masked, or build an engine",
                " with --min 1");
        }
        return inputs.inputs(pillars, model.min_pillars, model.sets);
    }

    /// Each part is fed with the results of those before it.
    static Tensors run(OpenModel& model, Tensors values) {
        Tensors outputs;
        for (const auto& part : model.parts) {
            for (auto& [name, view] : outputs) values[name] = view;
            outputs = part->run(values);
        }
        return outputs;
    }

    void check_labels(const std::vector<Box>& boxes) const {
        for (const Box& box : boxes) {
            if (box.label >= static_cast<std::int64_t>(manifest.classes.size())) {
                fail("labels: expected 0 to ", manifest.classes.size() - 1, ", got ", box.label);
            }
        }
    }

    Manifest manifest;
    FrameInputs inputs;
    std::vector<OpenModel> models;
    FrameReport last;
    StageTimes times;
};

Detector::Detector(const std::filesystem::path& folder, const Options& options)
    : state_(std::make_unique<State>(folder, options)) {}

Detector::~Detector() = default;
Detector::Detector(Detector&&) noexcept = default;
Detector& Detector::operator=(Detector&&) noexcept = default;

std::vector<Box> Detector::detect(PointView points) { return state_->detect(points); }

const std::vector<std::string>& Detector::class_names() const { return state_->manifest.classes; }

std::size_t Detector::columns() const { return state_->manifest.point_columns; }

const FrameReport& Detector::last() const { return state_->last; }

const StageTimes& Detector::times() const { return state_->times; }

}  // namespace padre3d
