#include "workers.hpp"

#include <algorithm>

namespace padre3d {

Workers::Workers(int count) {
    const unsigned wanted =
        count > 0 ? static_cast<unsigned>(count) : std::thread::hardware_concurrency();
    try {
        for (std::size_t worker = 1; worker < std::max(1U, wanted); ++worker) {
            threads_.emplace_back([this, worker] { wait_for_jobs(worker); });
        }
    } catch (...) {
        stop();
        throw;
    }
}

Workers::~Workers() { stop(); }

void Workers::stop() {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        ends_ = true;
    }
    start_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

void Workers::run(std::size_t pieces, const std::function<void(std::size_t, std::size_t)>& piece) {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        piece_ = &piece;
        pieces_ = pieces;
        next_ = 0;
        fault_ = nullptr;
        busy_ = threads_.size();
        ++job_;
    }
    start_.notify_all();
    take_pieces(0);
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return busy_ == 0; });
    if (fault_) std::rethrow_exception(fault_);
}

void Workers::wait_for_jobs(std::size_t worker) {
    std::size_t seen = 0;
    while (true) {
        {
            std::unique_lock<std::mutex> lock(mutex_);
            start_.wait(lock, [&] { return ends_ || job_ != seen; });
            if (ends_) return;
            seen = job_;
        }
        take_pieces(worker);
        const std::lock_guard<std::mutex> lock(mutex_);
        if (--busy_ == 0) done_.notify_one();
    }
}

void Workers::take_pieces(std::size_t worker) {
    try {
        for (std::size_t i = next_++; i < pieces_; i = next_++) (*piece_)(i, worker);
    } catch (...) {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (!fault_) fault_ = std::current_exception();
        next_ = pieces_;
    }
}

}  // namespace padre3d
