#include "token_layouts.hpp"

#include <algorithm>

#include "text.hpp"

namespace padre3d {
namespace {

std::int32_t up(std::int32_t a, std::int32_t b) { return (a + b - 1) / b; }

}  // namespace

TokenLayouts::TokenLayouts(const Grid& grid, const Tables& tables,
                           std::optional<std::size_t> set_size, Workers& workers)
    : grid_(grid), tables_(tables), set_size_(set_size), workers_(workers) {}

Tensors TokenLayouts::inputs(const std::vector<std::int32_t>& cells, std::size_t size,
                             std::optional<std::size_t> sets) {
    map_cells(cells);
    const std::size_t shifts = tables_.window_index.size();
    window_index_.assign(shifts * size, 0);
    for (std::size_t shift = 0; shift < shifts; ++shift) {
        const Table& table = tables_.window_index[shift];
        for (std::size_t i = 0; i < cells.size(); ++i) {
            window_index_[shift * size + i] = table[static_cast<std::size_t>(cells[i])];
        }
    }
    cells_.assign(size, 0);
    std::copy(cells.begin(), cells.end(), cells_.begin());
    Tensors result;
    if (!tables_.cells.empty()) {
        result = set_size_ ? set_inputs(cells, size, sets) : sequence_inputs(cells.size(), size);
    }
    result["window_index"] = {Type::int32, {shifts, size}, window_index_.data()};
    result["cell_to_pillar"] = {Type::int32, {1, grid_.ny(), grid_.nx()}, cell_to_pillar_.data()};
    result["cells"] = {Type::int32, {size}, cells_.data()};
    return result;
}

void TokenLayouts::map_cells(const std::vector<std::int32_t>& cells) {
    cell_to_pillar_.assign(grid_.num_cells(), 0);
    for (std::size_t i = 0; i < cells.size(); ++i) {
        cell_to_pillar_[static_cast<std::size_t>(cells[i])] = static_cast<std::int32_t>(i) + 1;
    }
}

/// The pillar rows in one order of the cells.
std::vector<std::int32_t> TokenLayouts::occupied(const Table& order, std::size_t pillars) const {
    std::vector<std::int32_t> rows(pillars + 1);  // each step writes, also behind the last one
    std::size_t count = 0;
    for (const std::int32_t cell : order) {
        const std::int32_t row = cell_to_pillar_[static_cast<std::size_t>(cell)];
        rows[count] = row - 1;
        count += row > 0;
    }
    rows.resize(pillars);
    return rows;
}

Tensors TokenLayouts::sequence_inputs(std::size_t pillars, std::size_t size) {
    const std::size_t layouts = tables_.cells.size();
    index_.assign(layouts * size, 0);
    slot_.assign(layouts * size, 0);
    valid_.assign(layouts * size, 0);
    workers_.run(layouts,
                 [&](std::size_t layout, std::size_t) { fill_sequence(layout, pillars, size); });
    return {{"index", {Type::int32, {layouts, 1, size}, index_.data()}},
            {"slot", {Type::int32, {layouts, size}, slot_.data()}},
            {"valid", {Type::boolean, {layouts, 1, size}, valid_.data()}}};
}

void TokenLayouts::fill_sequence(std::size_t layout, std::size_t pillars, std::size_t size) {
    const std::vector<std::int32_t> order = occupied(tables_.cells[layout], pillars);
    std::copy(order.begin(), order.end(),
              index_.begin() + static_cast<std::ptrdiff_t>(layout * size));
    std::fill_n(valid_.begin() + static_cast<std::ptrdiff_t>(layout * size), pillars,
                std::uint8_t{1});
    std::int32_t* slot = slot_.data() + layout * size;
    for (std::size_t i = 0; i < pillars; ++i) {
        slot[static_cast<std::size_t>(order[i])] = static_cast<std::int32_t>(i);
    }
}

Tensors TokenLayouts::set_inputs(const std::vector<std::int32_t>& cells, std::size_t size,
                                 std::optional<std::size_t> wanted) {
    const std::size_t layouts = tables_.cells.size();
    std::vector<Sets> sets(layouts);
    std::size_t most = 0;
    for (std::size_t layout = 0; layout < layouts; ++layout) {
        sets[layout] = sets_of(layout, cells);
        most = std::max(most, sets[layout].number);
    }
    if (wanted) {
        if (most > *wanted) fail("sets: expected at most ", *wanted, ", got ", most);
        most = *wanted;
    }
    index_.assign(layouts * most * *set_size_, 0);
    valid_.assign(layouts * most * *set_size_, 0);
    slot_.assign(layouts * size, 0);
    workers_.run(layouts, [&](std::size_t layout, std::size_t) {
        fill_sets(layout, cells, sets[layout], most, size);
    });
    return {{"index", {Type::int32, {layouts, most, *set_size_}, index_.data()}},
            {"slot", {Type::int32, {layouts, size}, slot_.data()}},
            {"valid", {Type::boolean, {layouts, most, *set_size_}, valid_.data()}}};
}

TokenLayouts::Sets TokenLayouts::sets_of(std::size_t layout,
                                         const std::vector<std::int32_t>& cells) const {
    const auto shift = static_cast<std::size_t>(tables_.layout_shift[layout]);
    const Table& windows = tables_.windows[shift];
    std::int32_t last = -1;
    for (const std::int32_t cell : cells) {
        last = std::max(last, windows[static_cast<std::size_t>(cell)]);
    }
    Sets sets;
    const auto number = static_cast<std::size_t>(last + 1);
    sets.count.assign(number, 0);
    for (const std::int32_t cell : cells) {
        ++sets.count[static_cast<std::size_t>(windows[static_cast<std::size_t>(cell)])];
    }
    sets.first_rank.assign(number + 1, 0);
    sets.first_set.assign(number + 1, 0);
    for (std::size_t w = 0; w < number; ++w) {
        sets.first_rank[w + 1] = sets.first_rank[w] + sets.count[w];
        sets.first_set[w + 1] =
            sets.first_set[w] + up(sets.count[w], static_cast<std::int32_t>(*set_size_));
    }
    sets.number = static_cast<std::size_t>(sets.first_set.back());
    return sets;
}

/// DSVT's sets of pillars that are sorted by window; see padre3d/sequences/sets.py.
void TokenLayouts::fill_sets(std::size_t layout, const std::vector<std::int32_t>& cells,
                             const Sets& sets, std::size_t most, std::size_t size) {
    const std::vector<std::int32_t> order = occupied(tables_.cells[layout], cells.size());
    const Table& windows = tables_.windows[static_cast<std::size_t>(tables_.layout_shift[layout])];
    const std::size_t length = *set_size_;
    std::int32_t* index = index_.data() + layout * most * length;
    std::uint8_t* valid = valid_.data() + layout * most * length;
    std::int32_t* slot_of = slot_.data() + layout * size;
    for (std::size_t w = 0; w < sets.count.size(); ++w) {
        const std::int64_t count = sets.count[w];
        const std::int64_t slots = std::int64_t{sets.first_set[w + 1] - sets.first_set[w]} *
                                   static_cast<std::int64_t>(length);
        const std::size_t start = static_cast<std::size_t>(sets.first_set[w]) * length;
        for (std::int64_t slot = 0; slot < slots; ++slot) {
            const std::size_t at = start + static_cast<std::size_t>(slot);
            const std::int64_t rank = sets.first_rank[w] + slot * count / slots;
            index[at] = order[static_cast<std::size_t>(rank)];
            valid[at] = at % length == 0 || index[at] != index[at - 1];
        }
    }
    for (std::size_t rank = 0; rank < order.size(); ++rank) {
        const auto row = static_cast<std::size_t>(order[rank]);
        const auto w = static_cast<std::size_t>(windows[static_cast<std::size_t>(cells[row])]);
        const std::int64_t count = sets.count[w];
        const std::int64_t slots = std::int64_t{sets.first_set[w + 1] - sets.first_set[w]} *
                                   static_cast<std::int64_t>(length);
        const std::int64_t in_window = static_cast<std::int64_t>(rank) - sets.first_rank[w];
        const std::int64_t ceiling = (in_window * slots + count - 1) / count;
        const std::int64_t first =
            std::int64_t{sets.first_set[w]} * static_cast<std::int64_t>(length);
        slot_of[row] = static_cast<std::int32_t>(first + ceiling);
    }
}

}  // namespace padre3d
