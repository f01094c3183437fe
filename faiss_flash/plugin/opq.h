/// OPQ's rotation on the engine.
#pragma once

#include <faiss/VectorTransform.h>

#include <cstdint>
#include <string>

namespace faiss_flash {

/// Does what matrix.train(n, x) does, with FAISS's sample, first rotation and schedule (opq.h). A
/// matrix.pq that is no plain ProductQuantizer to be trained from scratch goes to FAISS itself.
void train_opq(faiss::OPQMatrix& matrix, int64_t n, const float* x, const std::string& device);

} // namespace faiss_flash
