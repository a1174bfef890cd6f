// driver MODEL ENGINES ROWS ...: runs a model for each number of rows, and prints its limits and
// what it gave: the rows it counted and the sum of what it doubled.

#include <cuda_runtime_api.h>

#include <iostream>
#include <numeric>
#include <vector>

#include "backend.hpp"
#include "padre3d/error.hpp"

int main(int count, char** words) {
    try {
        {
            const auto graph = padre3d::open_graph("", words[1], {0, words[2]});
            const auto limits = graph->limits();
            if (limits) std::cout << limits->first << " " << limits->second << "\n";
            for (int i = 3; i < count; ++i) {
                const auto rows = static_cast<std::size_t>(std::stoul(words[i]));
                std::vector<float> features(3 * rows);
                std::iota(features.begin(), features.end(), 0.0F);
                const padre3d::TensorView view{padre3d::Type::float32, {rows, 3}, features.data()};
                const auto outputs = graph->run(
                    {{"features", view}, {"backbone_features", view}, {"unused", {}}});
                const auto& doubled = outputs.at("doubled");
                const float* values = doubled.floats();
                std::cout << *static_cast<const std::int64_t*>(outputs.at("rows").data) << " "
                          << std::accumulate(values, values + doubled.size(), 0.0) << "\n";
            }
        }
        std::cout << pretended_memory().size() << " held\n";
    } catch (const padre3d::Error& error) {
        std::cerr << "error: " << error.what() << "\n";
        return 1;
    }
}
