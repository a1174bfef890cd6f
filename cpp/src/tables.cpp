#include "tables.hpp"

#include <algorithm>
#include <cmath>

#include "npy.hpp"
#include "text.hpp"

namespace padre3d {
namespace {

constexpr std::size_t kMostBytes = std::size_t{1} << 30;

class Arrays {
public:
    explicit Arrays(const std::filesystem::path& path) : arrays_(read_npz(path, kMostBytes)) {}

    const NpyArray& named(const std::string& name) const {
        const auto found = arrays_.find(name);
        if (found == arrays_.end()) fail("tables: expected the arrays ", name, ", ..., got others");
        return found->second;
    }

    std::size_t starting_with(const std::string& start) const {
        return static_cast<std::size_t>(std::count_if(
            arrays_.begin(), arrays_.end(),
            [&](const auto& entry) { return entry.first.compare(0, start.size(), start) == 0; }));
    }

private:
    std::map<std::string, NpyArray> arrays_;
};

Matrix rows_of(const std::vector<float>& values, std::size_t columns, std::size_t first,
               std::size_t last) {
    Matrix matrix{last - first, columns, {}};
    matrix.values.assign(values.begin() + static_cast<std::ptrdiff_t>(first * columns),
                         values.begin() + static_cast<std::ptrdiff_t>(last * columns));
    return matrix;
}

std::vector<float> finite_floats(const NpyArray& array, const std::string& name) {
    if (array.dtype != "<f4") {
        fail("encoder layer: expected ", name, " in float32, got ", in_quotes(array.dtype));
    }
    std::vector<float> values = array.numbers<float>();
    if (!std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); })) {
        fail("encoder layer: expected finite numbers in ", name, ", got others");
    }
    return values;
}

EncoderLayer layer_of(const Arrays& arrays, std::size_t i) {
    const std::string number = std::to_string(i);
    const NpyArray& weight = arrays.named("weight" + number);
    const NpyArray& shift = arrays.named("shift" + number);
    const NpyArray& split = arrays.named("point_channels" + number);
    if (!split.shape.empty() || split.dtype[1] != 'i' || weight.shape.size() != 2) {
        fail("encoder layer ", i,
             ": expected a matrix and the number of its rows for a point, got ", "shapes ",
             shape_text(weight.shape), " and ", shape_text(split.shape));
    }
    const std::size_t rows = weight.shape[0], out = weight.shape[1];
    if (shift.shape != std::vector<std::size_t>{out} || out == 0) {
        fail("encoder layer: expected shift of shape (", out, "), got ", shape_text(shift.shape));
    }
    const std::int64_t given = std::max<std::int64_t>(0, split.numbers<std::int64_t>()[0]);
    const std::size_t own = std::min(static_cast<std::size_t>(given), rows);
    const std::vector<float> values = finite_floats(weight, "weight");
    const std::vector<float> shifts = finite_floats(shift, "shift");
    return {rows_of(values, out, 0, own), rows_of(values, out, own, rows),
            Floats(shifts.begin(), shifts.end())};
}

void add_layers(const Arrays& arrays, std::size_t columns, Tables& tables) {
    const std::size_t count = arrays.starting_with("weight");
    if (count == 0) {
        fail("pillar encoder: expected at least one layer in the tables, got none");
    }
    for (std::size_t i = 0; i < count; ++i) tables.layers.push_back(layer_of(arrays, i));
    tables.with_distance = tables.layers[0].point.rows == columns + kDescribed + 1;
    std::size_t point = columns + kDescribed + (tables.with_distance ? 1 : 0), pillar = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const EncoderLayer& layer = tables.layers[i];
        if (layer.point.rows != point || layer.pillar.rows != pillar) {
            fail("pillar encoder: expected layer ", i, " to take ", point,
                 " columns of a point and ", pillar, " of its pillar, got ", layer.point.rows,
                 " and ", layer.pillar.rows);
        }
        point = pillar = layer.shift.size();
    }
}

/// A table of whole numbers of 0 to `most` - 1, its rows apart.
std::vector<Table> whole_numbers(const Arrays& arrays, const std::string& name,
                                 const std::vector<std::size_t>& shape, std::size_t most) {
    const NpyArray& array = arrays.named(name);
    if (array.shape != shape || array.dtype != "<i4") {
        fail("table ", name, ": expected shape ", shape_text(shape), " in int32, got ",
             shape_text(array.shape), " in ", in_quotes(array.dtype));
    }
    const std::vector<std::int32_t> values = array.numbers<std::int32_t>();
    for (const std::int32_t value : values) {
        if (value < 0 || static_cast<std::size_t>(value) >= most) {
            fail("table ", name, ": expected 0 to ", most - 1, ", got ", value);
        }
    }
    const std::size_t columns = shape.back();
    std::vector<Table> rows;
    for (std::size_t at = 0; at < values.size(); at += columns) {
        const auto start = values.begin() + static_cast<std::ptrdiff_t>(at);
        rows.emplace_back(start, start + static_cast<std::ptrdiff_t>(columns));
    }
    return rows;
}

std::size_t length_of(const NpyArray& array) { return array.shape.empty() ? 1 : array.shape[0]; }

void add_token_tables(const Arrays& arrays, const Manifest& manifest, Tables& tables) {
    const std::size_t cells = manifest.grid.num_cells();
    const std::size_t shifts = length_of(arrays.named("windows"));
    const std::size_t orders = length_of(arrays.named("cells"));
    if (shifts == 0 || (orders == 0) != (manifest.layout == "grid")) {
        fail("tables: expected windows, and orders unless all layers are on the grid, got ", shifts,
             " shifts and ", orders, " orders with layout ", in_quotes(manifest.layout));
    }
    tables.cells = whole_numbers(arrays, "cells", {orders, cells}, cells);
    tables.windows = whole_numbers(arrays, "windows", {shifts, cells}, cells);
    tables.window_index =
        whole_numbers(arrays, manifest.own_name("window_index"), {shifts, cells}, cells);
    const auto shift = whole_numbers(arrays, "layout_shift", {orders}, shifts);
    if (!shift.empty()) tables.layout_shift = shift[0];
    for (const Table& order : tables.cells) {
        std::vector<bool> seen(cells);
        for (const std::int32_t cell : order) seen[static_cast<std::size_t>(cell)] = true;
        if (std::find(seen.begin(), seen.end(), false) != seen.end()) {
            fail("table cells: expected every cell once in each order");
        }
    }
}

}  // namespace

Tables load_tables(const std::filesystem::path& path, const Manifest& manifest) {
    const Arrays arrays(path);
    Tables tables;
    try {
        add_token_tables(arrays, manifest, tables);
        add_layers(arrays, manifest.point_columns, tables);
    } catch (const Error& error) {
        fail(path.string(), ": ", error.what());
    }
    return tables;
}

}  // namespace padre3d
