/// A stream of one piece of work.
#pragma once

#include <faiss_flash/cuda/runtime/check.h>

namespace faiss_flash::cuda {

class Stream {
   public:
    Stream() {
        check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
    }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    ~Stream() {
        cudaStreamSynchronize(stream_);
        cudaStreamDestroy(stream_);
    }
    cudaStream_t get() const { return stream_; }

   private:
    cudaStream_t stream_ = nullptr;
};

} // namespace faiss_flash::cuda
