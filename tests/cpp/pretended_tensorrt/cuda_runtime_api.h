// What cpp/src/backend_tensorrt.cpp calls of CUDA, on the memory of the host. PRETENDED_DEVICES
// says how many there are; `pretended_bytes` counts what is held.
#pragma once

#include <cstdlib>
#include <cstring>
#include <map>

enum cudaError_t { cudaSuccess, cudaErrorNoDevice };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
struct pretended_stream {};
using cudaStream_t = pretended_stream*;

inline std::map<void*, std::size_t>& pretended_memory() {
    static std::map<void*, std::size_t> held;
    return held;
}

inline cudaError_t cudaGetDeviceCount(int* count) {
    const char* said = std::getenv("PRETENDED_DEVICES");
    *count = said == nullptr ? 1 : std::atoi(said);
    return *count > 0 ? cudaSuccess : cudaErrorNoDevice;
}
inline const char* cudaGetErrorString(cudaError_t status) {
    return status == cudaSuccess ? "no error" : "no CUDA-capable device is detected";
}
inline cudaError_t cudaMalloc(void** address, std::size_t bytes) {
    *address = std::malloc(bytes);
    pretended_memory()[*address] = bytes;
    return cudaSuccess;
}
inline cudaError_t cudaFree(void* address) {
    pretended_memory().erase(address);
    std::free(address);
    return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind,
                                   cudaStream_t) {
    std::memcpy(to, from, bytes);
    return cudaSuccess;
}
inline cudaError_t cudaStreamCreate(cudaStream_t* stream) {
    *stream = new pretended_stream;
    return cudaSuccess;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    delete stream;
    return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
