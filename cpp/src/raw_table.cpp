#include "raw_table.hpp"

#include <algorithm>
#include <cmath>

#include "folder.hpp"
#include "npy.hpp"
#include "text.hpp"

namespace padre3d {
namespace {

constexpr std::size_t kGuessedColumns[] = {5, 4, 6};
constexpr double kMaxCoordinate = 1e7, kLeastLag = -1;
constexpr double kMaxFloatIntensity = 255, kMaxWholeIntensity = 65535;
// Divisible by 3, 4, 5 and 6: enough to tell columns, the same for every file size.
constexpr std::size_t kSampledValues = 60 * 4000;

bool ends_with(const std::string& text, const std::string& end) {
    return text.size() >= end.size() &&
           text.compare(text.size() - end.size(), end.size(), end) == 0;
}

/// The first rows, without those that have NaN or infinity.
RawTable sample(const RawTable& table, std::size_t columns) {
    RawTable result{{}, columns, table.kind};
    const std::size_t used = std::min(kSampledValues, table.values.size()) / columns * columns;
    for (std::size_t at = 0; at < used; at += columns) {
        const auto row = table.values.begin() + static_cast<std::ptrdiff_t>(at);
        const auto end = row + static_cast<std::ptrdiff_t>(columns);
        if (std::all_of(row, end, [](double v) { return std::isfinite(v); })) {
            result.values.insert(result.values.end(), row, end);
        }
    }
    return result;
}

double smallest(const std::vector<double>& values) {
    return *std::min_element(values.begin(), values.end());
}

double largest(const std::vector<double>& values) {
    return *std::max_element(values.begin(), values.end());
}

/// Whether the first columns can be coordinates, and the fourth an intensity of any scale.
bool may_be(const RawTable& sampled) {
    if (sampled.rows() == 0) return true;
    for (std::size_t axis = 0; axis < 3; ++axis) {
        const std::vector<double> values = sampled.column(axis);
        if (std::max(largest(values), -smallest(values)) > kMaxCoordinate) return false;
    }
    return sampled.columns == 3 || smallest(sampled.column(3)) >= 0;
}

bool is_plausible(const RawTable& table, std::size_t columns) {
    const RawTable sampled = sample(table, columns);
    if (sampled.rows() == 0 || !may_be(sampled)) return false;
    const std::vector<double> intensity = sampled.column(3);
    if (largest(intensity) > (is_whole(intensity) ? kMaxWholeIntensity : kMaxFloatIntensity)) {
        return false;
    }
    // Rings, times and other channels are not negative, or hardly; coordinates are.
    return columns == 4 || smallest(sampled.column(4)) >= kLeastLag;
}

std::vector<std::size_t> plausible_columns(const RawTable& table) {
    std::vector<std::size_t> found;
    for (const std::size_t columns : kGuessedColumns) {
        const bool divides = table.values.size() % columns == 0;
        if (divides && is_plausible(table, columns)) found.push_back(columns);
    }
    return found;
}

std::size_t guess_columns(const RawTable& table) {
    const std::vector<std::size_t> found = plausible_columns(table);
    if (found.size() == 1 && found[0] != 6) return found[0];
    fail("expected 4 or 5 columns of ", table.kind, ", got ", table.values.size(), " numbers that ",
         found.empty()      ? "read as no point cloud; the file is cut off or has other columns"
         : found.size() > 1 ? "read plausibly in more than one way"
                            : "read as 6 columns",
         ": give --columns (and --dtype)");
}

/// Refuses columns that the values contradict while another number fits them.
void check_columns(const RawTable& table) {
    if (may_be(sample(table, table.columns))) return;
    const std::vector<std::size_t> fits = plausible_columns(table);
    if (!fits.empty()) {
        fail("expected ", table.columns, " columns, got values that read as ", fits[0],
             "; --columns ", fits[0], " reads them so");
    }
}

std::string kind_of(const std::string& dtype) {
    if (dtype == "float16") return "f2";
    if (dtype == "float32") return "f4";
    if (dtype == "float64") return "f8";
    fail("--dtype: expected one of float32, float16, float64, got ", in_quotes(dtype));
}

}  // namespace

std::vector<double> RawTable::column(std::size_t number) const {
    std::vector<double> result;
    result.reserve(rows());
    for (std::size_t at = number; at < values.size(); at += columns) result.push_back(values[at]);
    return result;
}

bool is_whole(const std::vector<double>& values) {
    return std::all_of(values.begin(), values.end(),
                       [](double v) { return !std::isfinite(v) || v == std::nearbyint(v); });
}

RawTable read_bin(const std::filesystem::path& path, const ReadOptions& options) {
    const std::string name = lower(path.filename().string());
    const bool is_half = ends_with(name, "_float16.bin");
    NpyArray numbers;
    numbers.dtype = "<" + kind_of(options.dtype.value_or(is_half ? "float16" : "float32"));
    std::optional<std::size_t> columns = options.columns;
    if (!columns && (is_half || ends_with(name, ".pcd.bin"))) columns = 5;
    const std::size_t width = static_cast<std::size_t>(numbers.dtype[2] - '0');
    numbers.data = read_bytes(path);
    const std::size_t size = numbers.data.size(), record = columns.value_or(1) * width;
    if (size == 0) fail("expected points, got an empty file");
    if (size % record != 0) {
        fail("expected a multiple of ", record, " bytes (", columns.value_or(1), " columns of ",
             numbers.kind(), "), got ", size, "; the file is cut off or has other columns");
    }
    numbers.shape = {size / width};
    RawTable table{numbers.numbers<double>(), columns.value_or(0), numbers.kind()};
    if (columns) {
        check_columns(table);
    } else {
        table.columns = guess_columns(table);
    }
    return table;
}

RawTable read_npy(const std::filesystem::path& path, const ReadOptions& options) {
    if (options.dtype) fail("expected a .bin file with --dtype ", *options.dtype, ", got .npy");
    NpyArray array;
    try {
        array = parse_npy(read_bytes(path));
    } catch (const Error& error) {
        fail("expected a complete .npy array of numbers: ", error.what());
    }
    const std::vector<std::size_t>& shape = array.shape;
    if (shape.size() != 2 || shape[1] < 3 || shape[1] > 5) {
        fail("expected a (P, 3 to 5) array of real numbers, got shape ", shape_text(shape), " of ",
             array.dtype);
    }
    if (options.columns && *options.columns != shape[1]) {
        fail("expected ", *options.columns, " columns, got ", shape[1]);
    }
    return {array.numbers<double>(), shape[1], array.kind()};
}

}  // namespace padre3d
