#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "grid.hpp"
#include "tables.hpp"
#include "tensor.hpp"
#include "workers.hpp"

namespace padre3d {

/// The graph's index inputs of a frame; the twin of padre3d/runtime/token_layouts.py.
///
/// The cells of each order are constants; a frame's order is those of them that are occupied.
class TokenLayouts {
public:
    /// `set_size`: slots of a set, none without sets.
    TokenLayouts(const Grid& grid, const Tables& tables, std::optional<std::size_t> set_size,
                 Workers& workers);

    /// All but the features, by name. What it returns lives until the next call.
    ///
    /// `cells`: ascending ids of the occupied cells. `size`: pillars to pad to, at least as many.
    /// `sets`: sets to pad to, none for as many as the order with the most has.
    /// Throws Error if an order has more than `sets`.
    Tensors inputs(const std::vector<std::int32_t>& cells, std::size_t size,
                   std::optional<std::size_t> sets);

private:
    /// The sets of an order: how many there are before each window, and how many pillars.
    struct Sets {
        std::vector<std::int32_t> count, first_rank, first_set;
        std::size_t number = 0;
    };

    void map_cells(const std::vector<std::int32_t>& cells);
    std::vector<std::int32_t> occupied(const Table& order, std::size_t pillars) const;
    void fill_sequence(std::size_t layout, std::size_t pillars, std::size_t size);
    Sets sets_of(std::size_t layout, const std::vector<std::int32_t>& cells) const;
    void fill_sets(std::size_t layout, const std::vector<std::int32_t>& cells, const Sets& sets,
                   std::size_t most, std::size_t size);
    Tensors sequence_inputs(std::size_t pillars, std::size_t size);
    Tensors set_inputs(const std::vector<std::int32_t>& cells, std::size_t size,
                       std::optional<std::size_t> wanted);

    Grid grid_;
    const Tables& tables_;
    std::optional<std::size_t> set_size_;
    Workers& workers_;
    /// 1 + pillar row of each cell, 0 for an empty one.
    std::vector<std::int32_t> cell_to_pillar_;
    std::vector<std::int32_t> cells_, window_index_, index_, slot_;
    std::vector<std::uint8_t> valid_;
};

}  // namespace padre3d
