#include "arguments.hpp"

#include <functional>
#include <locale>
#include <map>
#include <sstream>

#include "text.hpp"

namespace padre3d {
namespace {

template <class Number>
Number number_of(const std::string& option, const std::string& word, Number least, Number most) {
    std::istringstream stream(word);
    stream.imbue(std::locale::classic());
    Number value{};
    const bool is_number = word.find('-') != 0 && (stream >> value) && stream.eof();
    if (!is_number || !(value >= least && value <= most)) {
        fail(option, ": expected a number from ", least, " to ", most, ", got ", in_quotes(word));
    }
    return value;
}

double max_lag_of(const std::string& word) {
    const std::optional<double> value = number_in(word);
    if (!value || !(*value > 0)) {
        fail("--max-lag: expected more than 0 s, got ", in_quotes(word));
    }
    return *value;
}

Pose calibration_of(const std::string& word) {
    std::istringstream parts(word + ",");
    std::vector<double> v;
    bool all = true;
    for (std::string part; std::getline(parts, part, ',');) {
        const std::optional<double> value = number_in(part);
        all = all && value.has_value();
        v.push_back(value.value_or(0));
    }
    try {
        if (all && v.size() == 7) return pose_of(v[0], v[1], v[2], v[3], v[4], v[5], v[6]);
    } catch (const Error&) {  // a rotation of length 0
    }
    fail("--lidar-to-ego: expected X,Y,Z,QW,QX,QY,QZ, got ", in_quotes(word));
}

using Setter = std::function<void(const std::string&)>;

/// Options with a value.
std::map<std::string, Setter> options_of(Arguments& args) {
    const auto path = [](std::filesystem::path& target) {
        return [&target](const std::string& word) { target = word; };
    };
    const auto count = [](const std::string& option, auto& target) {
        return [option, &target](const std::string& word) {
            target = number_of<std::size_t>(option, word, 1, 1'000'000);
        };
    };
    return {
        {"--out", path(args.out)},
        {"--poses", path(args.poses)},
        {"--times", path(args.times)},
        {"--engines", path(args.options.engines)},
        {"--backend", [&](const std::string& word) { args.options.backend = word; }},
        {"--threads",
         [&](const std::string& word) {
             args.options.threads = number_of<int>("--threads", word, 1, 1024);
         }},
        {"--columns",
         [&](const std::string& word) {
             args.reading.columns = number_of<std::size_t>("--columns", word, 3, 5);
         }},
        {"--dtype", [&](const std::string& word) { args.reading.dtype = word; }},
        {"--intensity-scale",
         [&](const std::string& word) {
             args.reading.intensity_scale =
                 static_cast<float>(number_of<double>("--intensity-scale", word, 0, 1e6));
         }},
        {"--score-thr",
         [&](const std::string& word) {
             args.score_thr = number_of<double>("--score-thr", word, 0, 1);
         }},
        {"--sweeps", count("--sweeps", args.sweeps)},
        {"--stride", count("--stride", args.stride)},
        {"--max-lag", [&](const std::string& word) { args.max_lag_s = max_lag_of(word); }},
        {"--lidar-to-ego",
         [&](const std::string& word) { args.lidar_to_ego = calibration_of(word); }},
        {"--repeat", count("--repeat", args.repeat)},
    };
}

void check(const Arguments& args, const std::map<std::string, bool>& given) {
    if (args.clouds.empty())
        fail("expected an exported folder and a cloud; --help has the options");
    const bool posed = !args.poses.empty();
    if (args.clouds.size() > 1 && !posed) {
        fail("expected one cloud, or --poses to join several, got ", args.clouds.size());
    }
    for (const char* option : {"--sweeps", "--stride", "--max-lag", "--lidar-to-ego"}) {
        if (given.count(option) != 0 && !posed) fail(option, ": expected --poses");
    }
}

}  // namespace

const char* const kUsage =
    R"(usage: padre3d_detect DIR CLOUD [CLOUD ...] [options]

Finds the boxes in a cloud (.bin or .npy) with a folder that tools/export.py wrote.

  --out FILE           boxes as JSON; default: standard output
  --score-thr X        least score kept (0.1)
  --backend NAME       openvino, openvino-bf16 or tensorrt; default: the first that was built in
  --threads N          on the CPU; default: one for each core
  --engines FOLDER     TensorRT engines; default: DIR/engines
reading:
  --columns N          numbers of a point, 3 to 5; default: name and values tell
  --dtype TYPE         float32, float16 or float64 numbers in a .bin
  --time-lag           column 5 is a time lag in s; --no-time-lag: it is none
  --intensity-scale X  255 for intensities from 0 to 1
sweeps:
  --poses FILE         CSV with stamp,x,y,z,qw,qx,qy,qz and a row for each cloud, in order or named
                       by a column file: joins the clouds, and finds the boxes at the latest one
  --lidar-to-ego X,Y,Z,QW,QX,QY,QZ
                       the clouds' frame in the poses'
  --sweeps N           sweeps in a cloud; default: what DIR/info.json says, else 10
  --stride N           take every Nth cloud before the last; default: info.json, else 1
  --max-lag S          age of the oldest sweep; default: docs/point-files.md
measuring:
  --repeat N           run N times
  --times FILE         milliseconds of the stages of each run as JSON
)";

Arguments parse_arguments(const std::vector<std::string>& words) {
    Arguments args;
    const std::map<std::string, Setter> options = options_of(args);
    std::map<std::string, bool> given;
    bool only_paths = false;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::string& word = words[i];
        const auto found = options.find(word);
        if (only_paths || word.empty() || word[0] != '-') {
            if (args.folder.empty())
                args.folder = word;
            else
                args.clouds.emplace_back(word);
        } else if (word == "--") {
            only_paths = true;
        } else if (word == "--help" || word == "-h") {
            args.help = true;
            return args;
        } else if (word == "--time-lag" || word == "--no-time-lag") {
            args.reading.time_lag = word == "--time-lag";
        } else if (found == options.end()) {
            fail(in_quotes(word), ": expected an option of --help");
        } else if (i + 1 == words.size()) {
            fail(word, ": expected a value, got none");
        } else {
            given[word] = true;
            found->second(words[++i]);
        }
    }
    check(args, given);
    return args;
}

}  // namespace padre3d
