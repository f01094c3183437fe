/// A stream of one piece of work; at its end memory that it took goes back to the device.
#pragma once

#include <faiss_flash/cuda/runtime/pool.h>

namespace faiss_flash::cuda {

class Stream {
   public:
    Stream() : stream_(take_stream()) {}
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    ~Stream() {
        cudaStreamSynchronize(stream_);
        give_back_stream(stream_);
        trim_memory_pool();
    }
    cudaStream_t get() const { return stream_; }

   private:
    cudaStream_t stream_;
};

} // namespace faiss_flash::cuda
