#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace padre3d {

/// Threads that share the pieces of a job; the caller is one of them.
class Workers {
public:
    /// `count` threads in all, 0 for one for each core. Throws if the system gives no more.
    explicit Workers(int count);
    ~Workers();
    Workers(const Workers&) = delete;
    Workers& operator=(const Workers&) = delete;

    std::size_t count() const { return threads_.size() + 1; }

    /// Calls `piece(i, worker)` for every i below `pieces`; what one throws is thrown here.
    void run(std::size_t pieces, const std::function<void(std::size_t, std::size_t)>& piece);

private:
    void stop();
    void wait_for_jobs(std::size_t worker);
    void take_pieces(std::size_t worker);

    std::vector<std::thread> threads_;
    std::mutex mutex_;
    std::condition_variable start_, done_;
    const std::function<void(std::size_t, std::size_t)>* piece_ = nullptr;
    std::size_t pieces_ = 0, job_ = 0, busy_ = 0;
    std::atomic<std::size_t> next_{0};
    std::exception_ptr fault_;
    bool ends_ = false;
};

}  // namespace padre3d
